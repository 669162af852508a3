#!/usr/bin/env python3
"""Converts published PyTorch checkpoints to the safetensors that we load.

    convert_weights.py NETWORK CHECKPOINT OUTPUT.safetensors

NETWORK     CHECKPOINT
nre_coarse  weights/coarse.pth of github.com/germain-hug/NRE
nre_fine    weights/fine.pth of the same
s2dnet      s2dnet_weights.pth, see github.com/germain-hug/S2DNet-Minimal
s2dhm       checkpoints/*/weights.pth.tar of github.com/germain-hug/S2DHM
vgg16       torchvision's vgg16-*.pth, without its classifier
gnnet       one that github.com/zimengjiang/gn_net stored of its U-Net
alike_t     models/alike-t.pth of github.com/Shiaoming/ALIKE
alike_n     models/alike-n.pth of the same
alike_l     models/alike-l.pth of the same
xfeat       weights/xfeat.pt of github.com/verlab/accelerated_features, whose
            batch norms are folded into its convolutions; or one where they
            are, as safetensors

A checkpoint is a pickle, which could run any code. We read it without PyTorch
and make nothing but tensors and plain containers from it: all else becomes
placeholders. (torch.load of PyTorch 1.13 ignores a pickle_module, and its
weights_only refuses what Lightning stores.) Every tensor of the network must
be there in its shape, and no other one. Floating-point weights are stored as
float32. Needs numpy.
"""

import argparse
import collections
import dataclasses
import hashlib
import io
import json
import os
import pathlib
import pickle
import struct
import sys
import typing
import zipfile

try:
    import numpy as np
except ImportError:
    sys.exit("error: numpy is needed (Debian: python3-numpy)")


class ConversionError(Exception):
    """Bad input; the message says what and where."""


# --- Names and shapes of the networks' tensors -------------------------------


def conv(name, outputs, inputs, height=1, width=None, bias=True):
    """The tensors of a convolution: {name: shape}."""
    shape = (outputs, inputs, height, width or height)
    shapes = {f"{name}.weight": shape}
    if bias:
        shapes[f"{name}.bias"] = (outputs,)
    return shapes


def group_norm(name, channels):
    """The tensors of a group norm: {name: shape}."""
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def batch_norm(name, channels):
    """The tensors of a batch norm: {name: shape}."""
    return {**group_norm(name, channels),
            f"{name}.running_mean": (channels,),
            f"{name}.running_var": (channels,),
            f"{name}.num_batches_tracked": ()}


def conv_norm(name, outputs, *rest):
    """Inception's unit of a convolution and its batch norm."""
    return {**conv(f"{name}.conv", outputs, *rest, bias=False),
            **batch_norm(f"{name}.bn", outputs)}


def inception_block(branches):
    """Adapts {branch: (outputs, inputs, height, width)} to a layer's name."""
    def block(name):
        shapes = {}
        for branch, sizes in branches.items():
            shapes.update(conv_norm(f"{name}.{branch}", *sizes))
        return shapes
    return block


def inception_a(inputs, pool_outputs):
    """Mixed_5b to Mixed_5d."""
    return inception_block({
        "branch1x1": (64, inputs),
        "branch5x5_1": (48, inputs),
        "branch5x5_2": (64, 48, 5),
        "branch3x3dbl_1": (64, inputs),
        "branch3x3dbl_2": (96, 64, 3),
        "branch3x3dbl_3": (96, 96, 3),
        "branch_pool": (pool_outputs, inputs)})


def inception_b(inputs):
    """Mixed_6a."""
    return inception_block({
        "branch3x3": (384, inputs, 3),
        "branch3x3dbl_1": (64, inputs),
        "branch3x3dbl_2": (96, 64, 3),
        "branch3x3dbl_3": (96, 96, 3)})


def inception_c(inputs, inner):
    """Mixed_6b to Mixed_6e."""
    return inception_block({
        "branch1x1": (192, inputs),
        "branch7x7_1": (inner, inputs),
        "branch7x7_2": (inner, inner, 1, 7),
        "branch7x7_3": (192, inner, 7, 1),
        "branch7x7dbl_1": (inner, inputs),
        "branch7x7dbl_2": (inner, inner, 7, 1),
        "branch7x7dbl_3": (inner, inner, 1, 7),
        "branch7x7dbl_4": (inner, inner, 7, 1),
        "branch7x7dbl_5": (192, inner, 1, 7),
        "branch_pool": (192, inputs)})


def inception_d(inputs):
    """Mixed_7a."""
    return inception_block({
        "branch3x3_1": (192, inputs),
        "branch3x3_2": (320, 192, 3),
        "branch7x7x3_1": (192, inputs),
        "branch7x7x3_2": (192, 192, 1, 7),
        "branch7x7x3_3": (192, 192, 7, 1),
        "branch7x7x3_4": (192, 192, 3)})


def nre_shapes(layers, channels):
    """`layers`: {index in the Sequential: block}; then 1x1 and batch norm."""
    shapes = {}
    for index, layer in layers.items():
        shapes.update(layer(f"cnn.{index}"))
    last = max(layers) + 1
    shapes.update(conv(f"cnn.{last}", channels, channels, bias=False))
    shapes.update(batch_norm(f"cnn.{last + 1}", channels))
    return shapes


def stem(*sizes):
    """One of Inception's first convolutions."""
    return lambda name: conv_norm(name, *sizes)


def nre_coarse_shapes():
    """Inception-v3 to Mixed_7a; indices 3 and 6 are max pools."""
    return nre_shapes({
        0: stem(32, 3, 3), 1: stem(32, 32, 3), 2: stem(64, 32, 3),
        4: stem(80, 64), 5: stem(192, 80, 3),
        7: inception_a(192, 32), 8: inception_a(256, 64),
        9: inception_a(288, 64), 10: inception_b(288),
        11: inception_c(768, 128), 12: inception_c(768, 160),
        13: inception_c(768, 160), 14: inception_c(768, 192),
        15: inception_d(768)}, 1280)


def nre_fine_shapes():
    """Inception-v3 to Mixed_5d, without pools; Conv2d_3b_1x1 is 3x3."""
    return nre_shapes({
        0: stem(32, 3, 3), 1: stem(32, 32, 3), 2: stem(64, 32, 3),
        3: stem(80, 64, 3), 4: stem(192, 80, 3),
        5: inception_a(192, 32), 6: inception_a(256, 64),
        7: inception_a(288, 64)}, 288)


def vgg16_shapes():
    """VGG-16's convolutions up to conv5_3."""
    outputs = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256,
               17: 512, 19: 512, 21: 512, 24: 512, 26: 512, 28: 512}
    shapes, inputs = {}, 3
    for index, channels in outputs.items():
        shapes.update(conv(f"encoder.{index}", channels, inputs, 3))
        inputs = channels
    return shapes


def s2dnet_shapes():
    """VGG-16 and three adaptation layers."""
    shapes = vgg16_shapes()
    for i, channels in enumerate((64, 256, 512)):
        name = f"adaptation_layers.adap_layer_{i}"
        shapes.update(conv(f"{name}.0", 64, channels))
        shapes.update(conv(f"{name}.2", 128, 64, 5))
        shapes.update(batch_norm(f"{name}.3", 128))
    return shapes


def s2dhm_shapes():
    """VGG-16 and NetVLAD with 64 clusters."""
    return {**vgg16_shapes(), **conv("pool.conv", 64, 512, bias=False),
            "pool.centroids": (64, 512)}


def double_conv(name, outputs, inputs):
    """(3x3 convolution, group norm, CELU) twice."""
    name = f"{name}.double_conv"
    return {**conv(f"{name}.0", outputs, inputs, 3),
            **group_norm(f"{name}.1", outputs),
            **conv(f"{name}.3", outputs, outputs, 3),
            **group_norm(f"{name}.4", outputs)}


def gnnet_shapes():
    """The U-Net: four times down and up, a level's output each time up."""
    shapes = double_conv("embedding_net.inc", 64, 3)
    for i in range(1, 5):
        fine, coarse = 32 << i, 64 << i
        shapes.update(double_conv(
            f"embedding_net.down{i}.maxpool_conv.1", coarse, fine))
        up = f"embedding_net.up{5 - i}"
        shapes.update(conv(f"{up}.conv_half_channel", fine, coarse))
        shapes.update(double_conv(f"{up}.conv", fine, coarse))
        shapes.update(conv(f"embedding_net.F{5 - i}.conv", 128, fine))
    return shapes


def alike_shapes(channels, dim, two_heads=False):
    """Blocks at the strides 1, 2, 8 and 32, aggregated by 1x1."""
    shapes, inputs = {}, 3
    for i, outputs in enumerate(channels, 1):
        for j, from_channels in ((1, inputs), (2, outputs)):
            shapes.update(conv(f"block{i}.conv{j}", outputs, from_channels, 3,
                               bias=False))
            shapes.update(batch_norm(f"block{i}.bn{j}", outputs))
        if i > 1:
            shapes.update(conv(f"block{i}.downsample", outputs, inputs))
        shapes.update(conv(f"conv{i}", dim // 4, outputs, bias=False))
        inputs = outputs
    if two_heads:
        shapes.update(conv("convhead1", dim, dim, bias=False))
    shapes.update(conv("convhead2", dim + 1, dim, bias=False))
    return shapes


def xfeat_shapes(folded):
    """The dense descriptors' part; batch norms have no weights."""
    shapes = conv("skip1.1", 24, 1)
    for block, inputs, layers in (
            ("block1", 1, ((4, 3), (8, 3), (8, 3), (24, 3))),
            ("block2", 24, ((24, 3), (24, 3))),
            ("block3", 24, ((64, 3), (64, 3), (64, 1))),
            ("block4", 64, ((64, 3), (64, 3), (64, 3))),
            ("block5", 64, ((128, 3), (128, 3), (128, 3), (64, 1))),
            ("block_fusion", 64, ((64, 3), (64, 3)))):
        for i, (outputs, size) in enumerate(layers):
            layer = f"{block}.{i}.layer"
            shapes.update(conv(f"{layer}.0", outputs, inputs, size,
                               bias=folded))
            if not folded:
                norm = batch_norm(f"{layer}.1", outputs)
                del norm[f"{layer}.1.weight"], norm[f"{layer}.1.bias"]
                shapes.update(norm)
            inputs = outputs
    shapes.update(conv("block_fusion.2", 64, 64))
    return shapes


# --- Published checkpoints ---------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Network:
    """What a network's checkpoint looks like and where it came from."""
    shapes: dict  # Every tensor's name and shape.
    holder: str = "state_dict"  # The entry with the tensors; "": all of it.
    prefixes: dict = dataclasses.field(default_factory=dict)  # To be replaced.
    dropped: tuple = ()  # Prefixes of tensors that the network does not have.
    # Shapes before batch norms (*.1) are folded into convolutions (*.0).
    unfolded: dict = dataclasses.field(default_factory=dict)
    licence: str = "unknown"
    training_data: str = "unknown"
    unit_norm: bool = True  # Whether descriptors are normalised.
    softmax_scale: str = ""  # Of inner products; "": not trained for one.
    git_blob: str = ""  # Of the published file, where it lies in git.


NETWORKS = {
    "nre_coarse": Network(
        nre_coarse_shapes(), licence="CC0-1.0", training_data="MegaDepth",
        unit_norm=False, softmax_scale="1",
        git_blob="af80cd6786779f3fa8e998f7fece8992f7243b5c"),
    "nre_fine": Network(
        nre_fine_shapes(), licence="CC0-1.0", training_data="MegaDepth",
        unit_norm=False, softmax_scale="1",
        git_blob="1a9e197ffe7368da1dac451da58cae1f70c91b1e"),
    "s2dnet": Network(
        s2dnet_shapes(), licence="MIT", training_data="MegaDepth",
        unit_norm=False, softmax_scale="1"),
    "s2dhm": Network(
        s2dhm_shapes(),
        prefixes={"encoder.module.": "encoder.", "pool.module.": "pool."},
        training_data="RobotCar or CMU sequences, by the folder"),
    "vgg16": Network(
        vgg16_shapes(), holder="", prefixes={"features.": "encoder."},
        dropped=("classifier.",), licence="BSD-3-Clause",
        training_data="ImageNet"),
    "gnnet": Network(gnnet_shapes(), holder="model_state_dict"),
    "alike_t": Network(
        alike_shapes((8, 16, 32, 64), 64), holder="",
        licence="BSD-3-Clause", training_data="MegaDepth",
        git_blob="e91c9dbe8e2831298270a2f79f471165df816ad2"),
    "alike_n": Network(
        alike_shapes((16, 32, 64, 128), 128), holder="",
        licence="BSD-3-Clause", training_data="MegaDepth",
        git_blob="72e33e4b1b2038eb5ab40a42bb0af28844965a0f"),
    "alike_l": Network(
        alike_shapes((32, 64, 128, 128), 128, two_heads=True), holder="",
        licence="BSD-3-Clause", training_data="MegaDepth",
        git_blob="723a0b76d805362593282a4e03b82b695c994697"),
    "xfeat": Network(
        xfeat_shapes(folded=True), holder="",
        dropped=("heatmap_head.", "keypoint_head.", "fine_matcher."),
        unfolded=xfeat_shapes(folded=False), licence="Apache-2.0",
        training_data="MegaDepth and COCO",
        git_blob="9da942e9c7406b8add3746bf98d4b1840233cd92"),
}


# --- Reading -----------------------------------------------------------------


STORAGES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1",
    "BoolStorage": "?", "ComplexFloatStorage": "<c8",
    "ComplexDoubleStorage": "<c16"}


@dataclasses.dataclass
class Storage:
    """The numbers that tensors lie in; `data` is read after the pickle."""
    dtype: str  # A value of STORAGES.
    count: int
    data: bytes = b""

    def __setstate__(self, _state):
        raise pickle.UnpicklingError("a storage that is changed")

    def numpy_type(self):
        """bfloat16 is the upper half of float32, unknown to numpy."""
        return np.dtype("<u2" if self.dtype == "bfloat16" else self.dtype)


class Tensor(typing.NamedTuple):
    """A view of a storage; offset and strides count elements."""
    storage: Storage
    offset: int
    shape: tuple
    strides: tuple

    def array(self):
        """As a numpy array; a view that leaves its storage is an error."""
        dtype = self.storage.numpy_type()
        values = np.ndarray(self.shape, dtype, self.storage.data,
                            self.offset * dtype.itemsize,
                            [s * dtype.itemsize for s in self.strides])
        if self.storage.dtype == "bfloat16":
            return (values.astype("<u4") << 16).view("<f4")
        return values


class Placeholder:
    """Stands for an object of any class: takes all, keeps and does nothing."""

    def __new__(cls, *_args, **_kwargs):
        return object.__new__(cls)

    def __init__(self, *_args, **_kwargs):
        pass

    def __call__(self, *_args, **_kwargs):
        return self

    def _ignore(*_args):
        pass

    __setstate__ = __setitem__ = append = extend = add = _ignore


def rebuild_tensor(storage, offset, shape, strides, *_unused):
    """What a checkpoint calls to make a tensor."""
    if not (isinstance(storage, Storage) and isinstance(shape, tuple)):
        raise pickle.UnpicklingError("a tensor of an unknown kind")
    return Tensor(storage, offset, shape, strides)


def rebuild_parameter(tensor, *_unused):
    """What a checkpoint calls to make a trained tensor."""
    return tensor


class Unpickler(pickle.Unpickler):
    """Gives only the names of containers and tensors a meaning, ours."""

    MEANINGS = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
        ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
        ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    }

    def __init__(self, file):
        super().__init__(file, encoding="utf-8")
        self.storages = {}  # By their key in the file.
        self.foreign = set()  # Names that became placeholders.

    def find_class(self, module, name):
        """The meaning of a global name; never looks for it in Python."""
        if module in ("torch", "torch.cuda") and name in STORAGES:
            return STORAGES[name]
        if (module, name) not in self.MEANINGS:
            self.foreign.add(f"{module}.{name}")
        return self.MEANINGS.get((module, name), Placeholder)

    def persistent_load(self, pid):
        """A storage: ("storage", type, key, device, number of elements)."""
        kind, dtype, key, _, count = pid[:5]
        if (kind != "storage" or dtype not in STORAGES.values()
                or any(view is not None for view in pid[5:])):
            raise pickle.UnpicklingError("a storage of an unknown kind")
        return self.storages.setdefault(key, Storage(dtype, count))


def read_zip(data):
    """A checkpoint as PyTorch stores it since 1.6: (contents, names)."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        pickled, = (name for name in archive.namelist()
                    if name.endswith("/data.pkl"))
        folder = pickled[:-len("data.pkl")]
        if (folder + "byteorder" in archive.namelist()
                and archive.read(folder + "byteorder") != b"little"):
            raise ValueError("not little-endian")
        unpickler = Unpickler(io.BytesIO(archive.read(pickled)))
        contents = unpickler.load()
        for key, storage in unpickler.storages.items():
            storage.data = archive.read(f"{folder}data/{key}")
    return contents, unpickler.foreign


def read_legacy(data):
    """A checkpoint as PyTorch stored it before: (contents, names)."""
    file = io.BytesIO(data)
    if Unpickler(file).load() != 0x1950A86A20F9469CFC6C:
        raise ValueError("unknown format")
    if Unpickler(file).load() != 1001:
        raise ValueError("unknown version of the format")
    if not Unpickler(file).load()["little_endian"]:
        raise ValueError("not little-endian")
    unpickler = Unpickler(file)
    contents = unpickler.load()
    for key in Unpickler(file).load():
        storage = unpickler.storages[key]
        count, = struct.unpack("<q", file.read(8))
        size = count * storage.numpy_type().itemsize
        storage.data = file.read(size)
        if count != storage.count or len(storage.data) != size:
            raise ValueError("unexpected end")
    return contents, unpickler.foreign


class PlainTensors(dict):
    """Tensors by name, with nothing around them."""


def read_safetensors(data):
    """A file without pickles, as a checkpoint that holds only tensors."""
    length, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    tensors = PlainTensors()
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        storage = Storage({"F64": "<f8", "F32": "<f4", "F16": "<f2",
                           "BF16": "bfloat16", "I64": "<i8"}[entry["dtype"]],
                          0, data[8 + length + begin:8 + length + end])
        strides = [1]
        for size in reversed(entry["shape"][1:]):
            strides.insert(0, strides[0] * size)
        tensors[name] = Tensor(storage, 0, tuple(entry["shape"]),
                               tuple(strides[:len(entry["shape"])]))
    return tensors, set()


def read_checkpoint(data):
    """The contents of a checkpoint (bytes), and the names it did not get."""
    reader = read_legacy
    if data.startswith(b"PK"):
        reader = read_zip
    elif data[8:9] == b"{":
        reader = read_safetensors
    try:
        return reader(data)
    except Exception as error:  # Broken files raise nearly everything.
        raise ConversionError(
            "cannot be read; truncated, or no PyTorch checkpoint? "
            f"({type(error).__name__}: {error})") from error


def state_dict(network, contents):
    """The checkpoint's tensors under our names."""
    state = contents
    if network.holder and not isinstance(contents, PlainTensors):
        if not isinstance(contents, dict) or network.holder not in contents:
            raise ConversionError(f"has no entry '{network.holder}'")
        state = contents[network.holder]
    if not isinstance(state, dict) or not all(
            isinstance(name, str) for name in state):
        raise ConversionError("holds no named tensors")
    tensors = {}
    for name in state:
        tensor = state[name]
        if name.startswith(network.dropped):
            continue
        for old, new in network.prefixes.items():
            if name.startswith(old):
                name = new + name[len(old):]
        if name in tensors:
            raise ConversionError(f"has two tensors for {name}")
        tensors[name] = tensor
    return tensors


def listed(what, names):
    """"what: a, b, ... (9 in all)", or nothing without names."""
    if not names:
        return []
    text = ", ".join(names[:5])
    if len(names) > 5:
        text += f", ... ({len(names)} in all)"
    return [f"{what}: {text}"]


def converted(name, tensor, shape):
    """The array to store: float32, but int64 for counts. Throws, says why."""
    if not isinstance(tensor, Tensor):
        raise ConversionError("not a tensor")
    if tensor.shape != shape:
        raise ConversionError(f"{list(tensor.shape)} instead of {list(shape)}")
    try:
        values = tensor.array()
    except (TypeError, ValueError) as error:
        raise ConversionError("not within its storage") from error
    kind = "i" if name.endswith("num_batches_tracked") else "f"
    if values.dtype.kind != kind:
        raise ConversionError(f"of type {values.dtype}")
    with np.errstate(over="ignore"):
        values = values.astype("<i8" if kind == "i" else "<f4", order="C")
    if not np.isfinite(values).all():
        raise ConversionError("not finite")
    return values


def converted_all(shapes, tensors):
    """Arrays by name; throws unless exactly the tensors `shapes` are there."""
    arrays, unusable = {}, []
    for name in sorted(shapes.keys() & tensors.keys()):
        try:
            arrays[name] = converted(name, tensors[name], shapes[name])
        except ConversionError as error:
            unusable.append(f"{name} ({error})")
    problems = (
        listed("missing", sorted(shapes.keys() - tensors.keys()))
        + listed("unknown", sorted(tensors.keys() - shapes.keys()))
        + listed("unusable", unusable))
    if problems:
        raise ConversionError("; ".join(problems))
    return arrays


def folded(arrays):
    """The arrays with batch norms (eps 1e-5) as part of the convolutions."""
    suffix = ".1.running_var"
    result = {name: values for name, values in arrays.items()
              if name.rpartition(".")[0] + ".running_var" not in arrays}
    for name in arrays:
        if not name.endswith(suffix):
            continue
        layer = name[:-len(suffix)]
        with np.errstate(invalid="ignore"):
            scale = 1 / np.sqrt(arrays[name].astype("<f8") + 1e-5)
        if not np.isfinite(scale).all():
            raise ConversionError(f"unusable: {name} (negative)")
        weight = f"{layer}.0.weight"
        result[weight] = (arrays[weight] * scale[:, None, None, None]
                          ).astype("<f4")
        result[f"{layer}.0.bias"] = (
            -arrays[f"{layer}.1.running_mean"] * scale).astype("<f4")
    return result


def network_arrays(network, tensors):
    """The arrays to store; throws unless exactly the network's are there."""
    if any(name in network.unfolded and name not in network.shapes
           for name in tensors):
        return folded(converted_all(network.unfolded, tensors))
    return converted_all(network.shapes, tensors)


# --- Writing -----------------------------------------------------------------


def safetensors_header(arrays, metadata):
    """The length and JSON text that start a file; 8-byte types come first."""
    header, end = {"__metadata__": metadata}, 0
    for name, values in arrays.items():
        begin, end = end, end + values.nbytes
        header[name] = {"dtype": {4: "F32", 8: "I64"}[values.itemsize],
                        "shape": list(values.shape),
                        "data_offsets": [begin, end]}
    text = json.dumps(header, ensure_ascii=False).encode("utf-8", "replace")
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def write_safetensors(output, arrays, metadata):
    """Writes the file as a whole or not at all."""
    arrays = dict(sorted(arrays.items(),
                         key=lambda item: (-item[1].itemsize, item[0])))
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with open(temporary, "xb") as file:
            file.write(safetensors_header(arrays, metadata))
            for values in arrays.values():
                file.write(values.tobytes())
        os.replace(temporary, output)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


# --- Command -----------------------------------------------------------------


def one_line(message):
    """Without what names in a foreign file may do to a terminal."""
    return "".join(c if c.isprintable() else " " for c in str(message))


def warn(message):
    """Prints a line that does not stop the conversion."""
    print(f"warning: {one_line(message)}", file=sys.stderr)


def git_blob(data):
    """The id that git gives a file of these contents."""
    digest = hashlib.sha1(b"blob %d\0" % len(data))
    digest.update(data)
    return digest.hexdigest()


def convert(args):
    """Reads, checks and writes; returns the line to print."""
    network = NETWORKS[args.network]
    if not args.output.parent.is_dir():
        raise ConversionError(f"{args.output.parent}: no such folder")
    if args.output.is_dir():
        raise ConversionError(f"{args.output}: is a folder")
    data = args.checkpoint.read_bytes()
    if args.output.exists() and args.output.samefile(args.checkpoint):
        raise ConversionError(f"{args.output}: would replace the checkpoint")
    try:
        contents, foreign = read_checkpoint(data)
        tensors = state_dict(network, contents)
        arrays = network_arrays(network, tensors)
    except ConversionError as error:
        raise ConversionError(
            f"{args.checkpoint}, as {args.network}: {error}") from error
    for line in listed("ignored objects of", sorted(foreign)):
        warn(line)
    if network.git_blob and git_blob(data) != network.git_blob:
        warn(f"{args.checkpoint}: not the published file of {args.network}")
    metadata = {
        "network": args.network,
        "version": "1",
        "licence": args.licence or network.licence,
        "training_data": args.training_data or network.training_data,
        "source": args.checkpoint.name,
        "source_sha256": hashlib.sha256(data).hexdigest(),
        "unit_norm": str(int(network.unit_norm))}
    if network.softmax_scale:
        metadata["softmax_scale"] = network.softmax_scale
    write_safetensors(args.output, arrays, metadata)
    return f"{args.output}: {len(arrays)} tensors of {args.network}"


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--licence", help="of the weights, where the default "
                        "for the network does not apply")
    parser.add_argument("--training_data", help="likewise")
    return parser.parse_args()


def main():
    try:
        print(convert(parse_arguments()))
    except (ConversionError, OSError) as error:
        sys.exit(f"error: {one_line(error)}")


if __name__ == "__main__":
    main()
