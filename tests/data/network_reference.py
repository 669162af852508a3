#!/usr/bin/env python3
"""Reference outputs of the papers' networks, for tests of the C++ ones.

The networks start from torchvision's VGG-16 and Inception-v3 and are changed
as the papers and the published code say; the U-Net, NetVLAD, ALIKE and XFeat
are written from their descriptions. Weights and image are seeded (see
seeded_values), so only a few output cells need storing. See README in this
folder.

    network_reference.py --fixtures FOLDER     writes FOLDER/<network>.safetensors
                         [--weights FOLDER]    the same with the weights there
    network_reference.py --checkpoints FOLDER  writes the same weights as
                                               checkpoints in published layouts

Needs PyTorch and torchvision (1.13 and 0.14 were used).
"""

import argparse
import collections
import json
import pathlib
import pickle
import struct
import sys
import types

try:
    import numpy as np
    import torch
    import torch.nn.functional as F
    from torch import nn
    from torchvision.models import inception, resnet, vgg16
except ImportError as missing:
    sys.exit(
        f"error: {sys.executable}: {missing}. The networks' references need "
        "numpy, PyTorch and torchvision (Debian: python3-numpy, python3-torch, "
        "python3-torchvision); cmake -DNRE_PYTHON=... chooses a Python for the "
        "tests.")

IMAGE_SHAPE = (97, 131, 3)  # rows, columns, RGB; odd, to exercise padding.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_CELLS = 8


# --- Seeded values -----------------------------------------------------------


def fnv1a(name):
    """The 64-bit FNV-1a hash of a string."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def seeded_values(name, shape):
    """Float64 values in [-1, 1) of `shape`, by SplitMix64 seeded with `name`."""
    count = int(np.prod(shape, dtype=np.int64))
    z = np.arange(1, count + 1, dtype=np.uint64)
    z *= np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(fnv1a(name))
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    values = (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1
    return values.reshape(shape)


def seeded_weight(name, shape):
    """The tensor that a network's state dict holds under `name`.

    Convolutions keep the variance (He's uniform weights), norms stay near 1.
    """
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    u = seeded_values(name, shape)
    if len(shape) == 4:
        values = u * np.sqrt(6.0 / np.prod(shape[1:]))
    elif name.endswith("centroids"):
        values = 0.05 * u
    elif name.endswith("running_var"):
        values = 1 + 0.5 * u
    elif name.endswith(("running_mean", "bias")):
        values = 0.1 * u
    else:
        values = 1 + 0.2 * u
    return torch.from_numpy(values.astype(np.float32))


def seeded_state(model):
    """The seeded state dict (names to tensors) of a network."""
    return collections.OrderedDict(
        (name, seeded_weight(name, tuple(tensor.shape)))
        for name, tensor in model.state_dict().items())


def seeded_image():
    """The 8-bit RGB test image, [97, 131, 3]."""
    u = seeded_values("image", IMAGE_SHAPE)
    return np.floor((u + 1) * 128).astype(np.uint8)


def network_input(image, from_0_to_1=False):
    """An 8-bit [H, W, 3] image as a float64 [1, 3, H, W] network input."""
    rgb = torch.from_numpy(image).double() / 255
    mean = torch.tensor(IMAGENET_MEAN, dtype=torch.float64)
    std = torch.tensor(IMAGENET_STD, dtype=torch.float64)
    return (rgb if from_0_to_1 else (rgb - mean) / std).permute(2, 0, 1)[None]


# --- NRE: Inception-v3 -------------------------------------------------------


class PaddedReduction(inception.InceptionB):
    """Mixed_6a whose stride-2 branches are all padded by 1."""

    def __init__(self, channels):
        super().__init__(channels)
        self.branch3x3.conv.padding = (1, 1)
        self.branch3x3dbl_3.conv.padding = (1, 1)

    def _forward(self, x):
        branches = super()._forward(x)
        branches[-1] = F.max_pool2d(x, 3, stride=2, padding=1)
        return branches


class KeptResolution(inception.InceptionD):
    """Mixed_7a with stride 1, which passes its input on unpooled."""

    def __init__(self, channels):
        super().__init__(channels)
        for block in (self.branch3x3_2, self.branch7x7x3_4):
            block.conv.stride = (1, 1)
            block.conv.padding = (1, 1)

    def _forward(self, x):
        branches = super()._forward(x)
        branches[-1] = x
        return branches


class NreNetwork(nn.Module):
    """One of the two networks of NRE: Inception's layers, then 1x1 + norm."""

    def __init__(self, layers, channels):
        super().__init__()
        layers += [nn.Conv2d(channels, channels, 1, bias=False),
                   nn.BatchNorm2d(channels)]
        self.cnn = nn.Sequential(*layers)

    def forward(self, x):
        return [self.cnn(x)]


def padded_inception():
    """torchvision's Inception-v3 with every stem convolution padded."""
    net = inception.Inception3(aux_logits=False, init_weights=False)
    for stem in (net.Conv2d_1a_3x3, net.Conv2d_2a_3x3, net.Conv2d_4a_3x3):
        stem.conv.padding = (1, 1)
    return net


def nre_coarse():
    """[1280, H/16, W/16] features."""
    net = padded_inception()
    layers = [net.Conv2d_1a_3x3, net.Conv2d_2a_3x3, net.Conv2d_2b_3x3,
              nn.MaxPool2d(3, stride=2, padding=1),
              net.Conv2d_3b_1x1, net.Conv2d_4a_3x3,
              nn.MaxPool2d(3, stride=2, padding=1),
              net.Mixed_5b, net.Mixed_5c, net.Mixed_5d,
              PaddedReduction(288),
              net.Mixed_6b, net.Mixed_6c, net.Mixed_6d, net.Mixed_6e,
              KeptResolution(768)]
    return NreNetwork(layers, 1280)


def nre_fine():
    """[288, H/2, W/2] features: no pooling, and Conv2d_3b_1x1 is 3x3."""
    net = padded_inception()
    layers = [net.Conv2d_1a_3x3, net.Conv2d_2a_3x3, net.Conv2d_2b_3x3,
              inception.BasicConv2d(64, 80, kernel_size=3, padding=1),
              net.Conv2d_4a_3x3,
              net.Mixed_5b, net.Mixed_5c, net.Mixed_5d]
    return NreNetwork(layers, 288)


# --- VGG-16: S2DNet, hypercolumns, NetVLAD -----------------------------------


def vgg16_encoder():
    """VGG-16 up to conv5_3 (layers 0 to 28), not in place."""
    layers = list(vgg16(weights=None, init_weights=False).features)[:29]
    return nn.Sequential(*[nn.ReLU() if isinstance(layer, nn.ReLU) else layer
                           for layer in layers])


def outputs_after(encoder, x, wanted):
    """The encoder's maps after each of the layers `wanted`."""
    maps = []
    for i, layer in enumerate(encoder):
        x = layer(x)
        if i in wanted:
            maps.append(x)
    return maps


class S2DNet(nn.Module):
    """Three levels of 128 channels at strides 1, 4 and 16.

    The published code keeps the outputs of conv1_2, conv3_3 and conv5_3, but
    torchvision's ReLU then works in place on the first two, and the encoder
    ends before the third's. So the levels start from relu1_2, relu3_3 and
    conv5_3.
    """

    def __init__(self):
        super().__init__()
        self.encoder = vgg16_encoder()
        self.adaptation_layers = nn.Module()
        for i, channels in enumerate((64, 256, 512)):
            self.adaptation_layers.add_module(
                f"adap_layer_{i}",
                nn.Sequential(nn.Conv2d(channels, 64, 1), nn.ReLU(),
                              nn.Conv2d(64, 128, 5, padding=2),
                              nn.BatchNorm2d(128)))

    def forward(self, x):
        maps = outputs_after(self.encoder, x, (3, 15, 28))
        return [adapt(level) for adapt, level in
                zip(self.adaptation_layers.children(), maps)]


class Vgg16Hypercolumns(nn.Module):
    """[2048, H/4, W/4]: relu3_2, pool3, relu4_2, pool4, relu5_2.

    These are the inputs of the layers 14, 17, 21, 24 and 28 that the paper
    lists. Larger strides are interpolated to relu3_2's size, corners aligned;
    columns have unit length.
    """

    def __init__(self):
        super().__init__()
        self.encoder = vgg16_encoder()

    def forward(self, x):
        maps = outputs_after(self.encoder, x, (13, 16, 20, 23, 27))
        size = maps[0].shape[2:]
        maps = [F.interpolate(level, size=size, mode="bilinear",
                              align_corners=True) for level in maps]
        return [F.normalize(torch.cat(maps, 1), dim=1)]


class NetVladPooling(nn.Module):
    """Sums residuals to 64 centroids: [1, 512, H, W] to [1, 64 * 512]."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(512, 64, 1, bias=False)
        self.centroids = nn.Parameter(torch.empty(64, 512))

    def forward(self, x):
        x = F.normalize(x, dim=1)
        shares = self.conv(x).softmax(dim=1).flatten(2)[0]
        x = x.flatten(2)[0]
        residuals = shares @ x.T - shares.sum(1, True) * self.centroids
        return F.normalize(F.normalize(residuals, dim=1).flatten()[None])


class S2dhm(Vgg16Hypercolumns):
    """The hypercolumns, from a network that was trained for retrieval."""

    def __init__(self):
        super().__init__()
        self.pool = NetVladPooling()


class NetVlad(S2dhm):
    """The [32768, 1, 1] global descriptor, pooled from conv5_3."""

    def forward(self, x):
        return [self.pool(self.encoder(x))[..., None, None]]


# --- GN-Net: U-Net -----------------------------------------------------------


class DoubleConv(nn.Module):
    """(3x3 convolution, group norm, CELU) twice."""

    def __init__(self, inputs, outputs, groups):
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.GroupNorm(groups, outputs), nn.CELU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.GroupNorm(groups, outputs), nn.CELU())

    def forward(self, x):
        return self.double_conv(x)


class Down(nn.Module):
    """Halves the resolution (the size rounds down)."""

    def __init__(self, inputs, outputs, groups):
        super().__init__()
        self.maxpool_conv = nn.Sequential(
            nn.MaxPool2d(2), DoubleConv(inputs, outputs, groups))

    def forward(self, x):
        return self.maxpool_conv(x)


class Up(nn.Module):
    """Doubles a map, pads it with zeros to `skip` and merges both."""

    def __init__(self, inputs, outputs, groups):
        super().__init__()
        self.conv_half_channel = nn.Conv2d(inputs, outputs, 1)
        self.conv = DoubleConv(inputs, outputs, groups)

    def forward(self, x, skip):
        x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        x = self.conv_half_channel(x)
        rows = skip.shape[2] - x.shape[2]
        cols = skip.shape[3] - x.shape[3]
        x = F.pad(x, (cols // 2, cols - cols // 2,
                      rows // 2, rows - rows // 2))
        return self.conv(torch.cat((skip, x), 1))


class OutConv(nn.Module):
    """The 1x1 convolution that ends a level."""

    def __init__(self, inputs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, 128, 1)

    def forward(self, x):
        return self.conv(x)


class UNet(nn.Module):
    """Four levels of 128 channels at strides 8, 4, 2 and 1."""

    def __init__(self):
        super().__init__()
        channels = (64, 128, 256, 512, 1024)
        groups = (8, 8, 16, 16, 32)
        self.inc = DoubleConv(3, channels[0], groups[0])
        for i in range(4):
            self.add_module(f"down{i + 1}", Down(
                channels[i], channels[i + 1], groups[i + 1]))
        for i in range(4):
            self.add_module(f"up{i + 1}", Up(
                channels[4 - i], channels[3 - i], groups[3 - i]))
            self.add_module(f"F{i + 1}", OutConv(channels[3 - i]))

    def forward(self, x):
        skips = [self.inc(x)]
        for i in range(1, 5):
            skips.append(getattr(self, f"down{i}")(skips[-1]))
        x = skips.pop()
        levels = []
        for i in range(1, 5):
            x = getattr(self, f"up{i}")(x, skips.pop())
            levels.append(getattr(self, f"F{i}")(x))
        return levels


class GnNet(nn.Module):
    """The U-Net under the name that GN-Net's checkpoints give it."""

    def __init__(self):
        super().__init__()
        self.embedding_net = UNet()

    def forward(self, x):
        return self.embedding_net(x)


# --- ALIKE -------------------------------------------------------------------


def padded_to(x, size):
    """Height and width become multiples of `size`; the border is repeated."""
    return F.pad(x, (0, -x.shape[3] % size, 0, -x.shape[2] % size),
                 mode="replicate")


class TwoConvolutions(nn.Module):
    """(3x3 convolution, batch norm, ReLU) twice."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)))


class Alike(nn.Module):
    """Its descriptors, averaged over 4x4 and over 2x2 pixels.

    In full resolution, for the whole picture, averaged at the very end.
    """

    from_0_to_1 = True

    def __init__(self, channels, dim, two_heads=False):
        super().__init__()
        self.block1 = TwoConvolutions(3, channels[0])
        for i in range(1, 4):
            self.add_module(f"block{i + 1}", resnet.BasicBlock(
                channels[i - 1], channels[i],
                downsample=nn.Conv2d(channels[i - 1], channels[i], 1)))
        for i in range(4):
            self.add_module(f"conv{i + 1}", nn.Conv2d(
                channels[i], dim // 4, 1, bias=False))
        if two_heads:
            self.convhead1 = nn.Conv2d(dim, dim, 1, bias=False)
        self.convhead2 = nn.Conv2d(dim, dim + 1, 1, bias=False)

    def forward(self, image):
        x = padded_to(image, 32)
        size = x.shape[2:]
        levels = []
        for i, pool in enumerate((1, 2, 4, 4)):
            x = getattr(self, f"block{i + 1}")(F.max_pool2d(x, pool))
            level = F.relu(getattr(self, f"conv{i + 1}")(x))
            levels.append(F.interpolate(level, size=size, mode="bilinear",
                                        align_corners=True))
        x = torch.cat(levels, 1)
        if hasattr(self, "convhead1"):
            x = F.relu(self.convhead1(x))
        x = self.convhead2(x)[:, :-1, :image.shape[2], :image.shape[3]]
        return [F.avg_pool2d(x, stride) for stride in (4, 2)]


# --- XFeat -------------------------------------------------------------------


class XFeatLayer(nn.Module):
    """Convolution and ReLU; batch norm is folded into the convolution."""

    def __init__(self, inputs, outputs, size=3, stride=1):
        super().__init__()
        self.layer = nn.Sequential(
            nn.Conv2d(inputs, outputs, size, stride, size // 2), nn.ReLU())

    def forward(self, x):
        return self.layer(x)


class XFeat(nn.Module):
    """Its dense descriptors at stride 8, not normalised."""

    from_0_to_1 = True

    def __init__(self):
        super().__init__()
        layer = XFeatLayer
        self.skip1 = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(1, 24, 1))
        self.block1 = nn.Sequential(layer(1, 4), layer(4, 8, stride=2),
                                    layer(8, 8), layer(8, 24, stride=2))
        self.block2 = nn.Sequential(layer(24, 24), layer(24, 24))
        self.block3 = nn.Sequential(layer(24, 64, stride=2), layer(64, 64),
                                    layer(64, 64, 1))
        self.block4 = nn.Sequential(layer(64, 64, stride=2), layer(64, 64),
                                    layer(64, 64))
        self.block5 = nn.Sequential(layer(64, 128, stride=2), layer(128, 128),
                                    layer(128, 128), layer(128, 64, 1))
        self.block_fusion = nn.Sequential(layer(64, 64), layer(64, 64),
                                          nn.Conv2d(64, 64, 1))

    def forward(self, image):
        x = padded_to(F.instance_norm(image.mean(1, keepdim=True)), 32)
        levels = [self.block3(self.block2(self.block1(x) + self.skip1(x)))]
        levels.append(self.block4(levels[-1]))
        levels.append(self.block5(levels[-1]))
        x = sum(F.interpolate(level, size=levels[0].shape[2:], mode="bilinear",
                              align_corners=False) for level in levels)
        x = self.block_fusion(x)
        return [x[:, :, :image.shape[2] // 8, :image.shape[3] // 8]]


NETWORKS = {
    "nre_coarse": nre_coarse,
    "nre_fine": nre_fine,
    "s2dnet": S2DNet,
    "s2dhm": S2dhm,
    "vgg16": Vgg16Hypercolumns,
    "netvlad": NetVlad,
    "gnnet": GnNet,
    "alike_t": lambda: Alike((8, 16, 32, 64), 64),
    "alike_n": lambda: Alike((16, 32, 64, 128), 128),
    "alike_l": lambda: Alike((32, 64, 128, 128), 128, two_heads=True),
    "xfeat": XFeat,
}


def read_safetensors(path):
    """The tensors of a file by name."""
    data = path.read_bytes()
    length, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        dtype = {"F32": "<f4", "I64": "<i8"}[entry["dtype"]]
        values = np.frombuffer(data[begin:end], dtype).copy()
        tensors[name] = torch.from_numpy(values).reshape(entry["shape"])
    return tensors


def network_for_inference(name, weights=None):
    """A network of NETWORKS with seeded weights or those of a folder."""
    model = NETWORKS[name]()
    model.load_state_dict(
        read_safetensors(weights / f"{name}.safetensors") if weights
        else seeded_state(model))
    return model.eval()


# --- Fixtures ----------------------------------------------------------------


def write_safetensors(path, tensors, metadata):
    """Writes named numpy arrays (float32, int64); 8-byte types first."""
    dtypes = {"float32": "F32", "int64": "I64"}
    names = sorted(tensors, key=lambda n: (-tensors[n].itemsize, n))
    header, end = {"__metadata__": metadata}, 0
    for name in names:
        begin, end = end, end + tensors[name].nbytes
        header[name] = {"dtype": dtypes[tensors[name].dtype.name],
                        "shape": list(tensors[name].shape),
                        "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    data = b"".join(tensors[name].tobytes() for name in names)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def chosen_cells(name, height, width):
    """Up to 8 cells (y, x) of a map, int64 [n, 2]: corners and seeded ones."""
    u = seeded_values(name, (MAX_CELLS - 2, 2))
    inner = np.floor((u + 1) / 2 * (height, width)).astype(np.int64)
    corners = np.array([[0, 0], [height - 1, width - 1]])
    return np.unique(np.concatenate((corners, inner)), axis=0)


def fixture(name, weights=None):
    """The tensors of one network's fixture, computed in double precision."""
    model = network_for_inference(name, weights).double()
    image = network_input(seeded_image(), getattr(model, "from_0_to_1", False))
    with torch.no_grad():
        outputs = model(image)
    tensors = {}
    for j, output in enumerate(outputs):
        output = output[0].numpy()
        cells = chosen_cells(f"cells_{j}", *output.shape[1:])
        values = output[:, cells[:, 0], cells[:, 1]].T
        stats = [output.mean(), output.std(), output.min(), output.max()]
        tensors[f"shape_{j}"] = np.array(output.shape, dtype=np.int64)
        tensors[f"cells_{j}"] = cells
        tensors[f"values_{j}"] = values.astype(np.float32, order="C")
        tensors[f"stats_{j}"] = np.array(stats, dtype=np.float32)
    return tensors


def write_fixtures(folder, networks=tuple(NETWORKS), weights=None):
    """Writes FOLDER/<network>.safetensors for every network."""
    for name in networks:
        write_safetensors(folder / f"{name}.safetensors",
                          fixture(name, weights), {"network": name})


# --- Checkpoints -------------------------------------------------------------


def lightning_class(module_name, class_name, base):
    """A class of PyTorch Lightning's name, so that pickles refer to it.

    Published checkpoints hold such objects beside the weights.
    """
    parts = module_name.split(".")
    for end in range(1, len(parts) + 1):  # Importing it looks for them all.
        name = ".".join(parts[:end])
        module = sys.modules.setdefault(name, types.ModuleType(name))
    result = type(class_name, (base,), {"__module__": module_name})
    setattr(module, class_name, result)
    return result


def lightning_checkpoint(name, level):
    """What PyTorch Lightning 1.2 stores."""
    attributes = lightning_class(
        "pytorch_lightning.utilities.parsing", "AttributeDict", dict)
    callback = lightning_class(
        "pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint",
        object)
    return {"epoch": 12, "global_step": 3456,
            "pytorch-lightning_version": "1.2.10",
            "callbacks": {callback: {"best_model_score": torch.tensor(0.5)}},
            "optimizer_states": [], "lr_schedulers": [],
            "state_dict": seeded_state(NETWORKS[name]()),
            "hparams_name": "kwargs",
            "hyper_parameters": attributes(level=level, learning_rate=1e-3)}


def s2dhm_checkpoint():
    """S2DHM's, which was trained in parallel."""
    state = collections.OrderedDict(
        (name.replace(".", ".module.", 1), tensor)
        for name, tensor in seeded_state(S2dhm()).items())
    return {"epoch": 3, "state_dict": state, "best_score": np.float64(0.5),
            "parallel": True}


def torchvision_checkpoint():
    """torchvision's plain state dict; the classifier is one repeated zero."""
    state = collections.OrderedDict(
        (name.replace("encoder", "features"), tensor)
        for name, tensor in seeded_state(Vgg16Hypercolumns()).items())
    zero = torch.zeros(1)
    for i, (outputs, inputs) in {0: (4096, 25088), 3: (4096, 4096),
                                 6: (1000, 4096)}.items():
        state[f"classifier.{i}.weight"] = zero.expand(outputs, inputs)
        state[f"classifier.{i}.bias"] = zero.expand(outputs)
    return state


def xfeat_checkpoint():
    """XFeat's plain state dict: with batch norms and parts that we leave out.

    Folded, each convolution has its seeded weights.
    """
    state = collections.OrderedDict()
    for name, tensor in seeded_state(XFeat()).items():
        norm = name.replace(".layer.0.bias", ".layer.1")
        if norm == name:
            state[name] = tensor
            continue
        weight = name.replace("bias", "weight")
        variance = seeded_weight(f"{norm}.running_var", tensor.shape)
        deviation = (variance + 1e-5).sqrt()
        state[weight] = seeded_weight(weight, tuple(state[weight].shape)
                                      ) * deviation[:, None, None, None]
        state[f"{norm}.running_mean"] = -tensor * deviation
        state[f"{norm}.running_var"] = variance
        state[f"{norm}.num_batches_tracked"] = torch.zeros(
            (), dtype=torch.int64)
    for name in ("heatmap_head.2.weight", "keypoint_head.3.bias",
                 "fine_matcher.0.weight"):
        state[name] = torch.zeros(3)
    return state


# File name, network, whether in the format since PyTorch 1.6, contents.
CHECKPOINTS = (
    ("coarse.pth", "nre_coarse", True,
     lambda: lightning_checkpoint("nre_coarse", "coarse")),
    ("fine.pth", "nre_fine", True,
     lambda: lightning_checkpoint("nre_fine", "fine")),
    ("s2dnet_weights.pth", "s2dnet", False,
     lambda: {"state_dict": seeded_state(S2DNet()),
              "hypercolumn_layers": ["conv1_2", "conv3_3", "conv5_3"]}),
    ("weights.pth.tar", "s2dhm", False, s2dhm_checkpoint),
    ("vgg16.pth", "vgg16", False, torchvision_checkpoint),
    ("gn_net.pth.tar", "gnnet", False,
     lambda: {"epoch": 1, "model_state_dict": seeded_state(GnNet()),
              "optimizer_state_dict": {}, "scheduler_state_dict": {}}),
    *((f"alike-{size}.pth", f"alike_{size}", True,
       lambda size=size: seeded_state(NETWORKS[f"alike_{size}"]()))
      for size in "tnl"),
    ("xfeat.pt", "xfeat", True, xfeat_checkpoint),
)


def write_checkpoints(folder, networks=tuple(NETWORKS)):
    """Writes checkpoints with seeded weights in the published layouts."""
    for file_name, network, zipped, contents in CHECKPOINTS:
        if network in networks:
            torch.save(contents(), folder / file_name, pickle_module=pickle,
                       _use_new_zipfile_serialization=zipped)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fixtures", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--checkpoints", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS,
                        default=tuple(NETWORKS),
                        help="which; all of them without this")
    parser.add_argument("--weights", type=pathlib.Path, metavar="FOLDER",
                        help="with FOLDER/<network>.safetensors for fixtures")
    args = parser.parse_args()
    if args.fixtures:
        write_fixtures(args.fixtures, args.networks, args.weights)
    if args.checkpoints:
        write_checkpoints(args.checkpoints, args.networks)


if __name__ == "__main__":
    main()
