#!/usr/bin/env python3
"""Tests scripts/convert_weights.py with checkpoints of seeded weights.

Needs PyTorch and torchvision, as network_reference.py does.
"""

import collections
import dataclasses
import hashlib
import importlib.util
import json
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import tempfile
import unittest
import zipfile
from unittest import mock

HERE = pathlib.Path(__file__).resolve().parent
SCRIPT = HERE.parents[1] / "scripts" / "convert_weights.py"


def imported(path):
    """The Python file `path` as a module; leaves no cache in the tree."""
    sys.dont_write_bytecode = True
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


reference = imported(HERE / "network_reference.py")
np, torch = reference.np, reference.torch  # It says where to get them.
convert_weights = imported(SCRIPT)


def read_safetensors(path):
    """A file's metadata and {name: array}; checks that there are no gaps."""
    data = path.read_bytes()
    length, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    metadata = header.pop("__metadata__")
    data, arrays, end = data[8 + length:], {}, 0
    for name, entry in header.items():
        begin, stop = entry["data_offsets"]
        assert begin == end, name
        dtype = {"F32": "<f4", "I64": "<i8"}[entry["dtype"]]
        arrays[name] = np.frombuffer(data[begin:stop], dtype).reshape(
            entry["shape"])
        end = stop
    assert end == len(data)
    return metadata, arrays


class Runs:
    """Calls `function(*args)` when unpickled by Python."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


class ConvertWeightsTest(unittest.TestCase):
    """Every test has an empty folder."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.checkpoint = self.folder / "checkpoint.pth"
        self.output = self.folder / "weights.safetensors"

    def run_script(self, network, checkpoint=None, output=None, *options):
        """Runs the script as a user would."""
        return subprocess.run(
            [sys.executable, SCRIPT, network, checkpoint or self.checkpoint,
             output or self.output, *options],
            capture_output=True, text=True, check=False)

    def convert(self, network, checkpoint=None, *options):
        """Converts; returns (metadata, arrays, what stderr says)."""
        result = self.run_script(network, checkpoint, None, *options)
        self.assertEqual(result.returncode, 0, result.stderr)
        return *read_safetensors(self.output), result.stderr

    def refuse(self, network, *words, checkpoint=None, output=None):
        """One line on stderr with `words`, and nothing new in the folder."""
        before = sorted(self.folder.iterdir())
        result = self.run_script(network, checkpoint, output)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertTrue(result.stderr.startswith("error: "), result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)
        self.assertEqual(sorted(self.folder.iterdir()), before)

    def fine(self):
        """The seeded weights of the smallest network."""
        return reference.seeded_state(reference.nre_fine())

    def save(self, contents, zipped=True):
        """Writes the checkpoint in the format since or before PyTorch 1.6."""
        torch.save(contents, self.checkpoint,
                   _use_new_zipfile_serialization=zipped)

    def assert_equal_arrays(self, arrays, state, tolerance=0):
        """The arrays are the tensors, exactly or relatively."""
        self.assertEqual(arrays.keys(), state.keys())
        for name, tensor in state.items():
            self.assertEqual(arrays[name].shape, tuple(tensor.shape), name)
            np.testing.assert_allclose(arrays[name], tensor.numpy(), tolerance,
                                       err_msg=name)


class PublishedLayouts(ConvertWeightsTest):
    """What others published gives our names."""

    def test_every_network(self):
        for file_name, network, _, _ in reference.CHECKPOINTS:
            with self.subTest(network):
                reference.write_checkpoints(self.folder, [network])
                source = self.folder / file_name
                metadata, arrays, _ = self.convert(network, source)
                model = reference.NETWORKS[network]()
                self.assert_equal_arrays(arrays,
                                         reference.seeded_state(model),
                                         1e-6 if network == "xfeat" else 0)
                self.assertEqual(metadata["network"], network)
                as_trained = network in ("nre_coarse", "nre_fine", "s2dnet")
                self.assertEqual(metadata["unit_norm"],
                                 "0" if as_trained else "1")
                self.assertEqual(metadata.get("softmax_scale"),
                                 "1" if as_trained else None)
                source.unlink()

    def test_metadata(self):
        reference.write_checkpoints(self.folder, ["nre_fine"])
        source = self.folder / "fine.pth"
        sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
        metadata, _, _ = self.convert("nre_fine", source)
        self.assertEqual(metadata, {
            "network": "nre_fine", "version": "1", "licence": "CC0-1.0",
            "training_data": "MegaDepth", "source": "fine.pth",
            "source_sha256": sha256, "unit_norm": "0", "softmax_scale": "1"})
        metadata, _, _ = self.convert("nre_fine", source, "--licence", "mine",
                                      "--training_data", "Zürich")
        self.assertEqual(metadata["licence"], "mine")
        self.assertEqual(metadata["training_data"], "Zürich")

    def test_same_checkpoint_gives_same_bytes(self):
        self.save({"state_dict": self.fine()})
        self.convert("nre_fine")
        first = self.output.read_bytes()
        self.convert("nre_fine")
        self.assertEqual(self.output.read_bytes(), first)

    def test_warns_unless_it_is_the_published_file(self):
        self.save({"state_dict": self.fine()})
        _, _, stderr = self.convert("nre_fine")
        self.assertIn("not the published file", stderr)
        data = self.checkpoint.read_bytes()
        blob = subprocess.run(
            ["git", "hash-object", "--no-filters", self.checkpoint],
            capture_output=True, text=True, check=True).stdout.strip()
        self.assertEqual(convert_weights.git_blob(data), blob)
        published = dataclasses.replace(
            convert_weights.NETWORKS["nre_fine"], git_blob=blob)
        arguments = mock.Mock(network="nre_fine", checkpoint=self.checkpoint,
                              output=self.output, licence="",
                              training_data="")
        with mock.patch.dict(convert_weights.NETWORKS, nre_fine=published), \
                mock.patch.object(convert_weights, "warn") as warn:
            convert_weights.convert(arguments)
        warn.assert_not_called()

    def test_untouched_by_training_in_parallel(self):
        state = reference.seeded_state(reference.S2dhm())
        self.save({"state_dict": state}, zipped=False)
        _, arrays, _ = self.convert("s2dhm")
        self.assert_equal_arrays(arrays, state)


class FoldedBatchNorms(ConvertWeightsTest):
    """XFeat's convolutions with and without their batch norms."""

    def write_safetensors(self, state):
        """A file that was folded by somebody else."""
        reference.write_safetensors(
            self.checkpoint, {name: tensor.numpy()
                              for name, tensor in state.items()}, {})

    def folded(self):
        """The seeded weights, and parts that we leave out."""
        state = reference.seeded_state(reference.XFeat())
        state["heatmap_head.2.bias"] = torch.zeros(1)
        return state

    def test_folded_already(self):
        self.write_safetensors(self.folded())
        metadata, arrays, _ = self.convert("xfeat")
        self.assert_equal_arrays(arrays,
                                 reference.seeded_state(reference.XFeat()))
        self.assertEqual(metadata["unit_norm"], "1")

    def test_neither_folded_nor_not(self):
        state = reference.xfeat_checkpoint()
        del state["block2.1.layer.1.running_var"]
        self.save(state)
        self.refuse("xfeat", "missing: block2.1.layer.1.running_var\n")
        state = reference.xfeat_checkpoint()
        state["block2.1.layer.1.running_var"] -= 2
        self.save(state)
        self.refuse("xfeat", "block2.1.layer.1.running_var (negative)")
        state = self.folded()
        del state["block2.1.layer.0.bias"]
        self.write_safetensors(state)
        self.refuse("xfeat", "missing: block2.1.layer.0.bias\n")

    def test_broken_safetensors(self):
        self.write_safetensors(self.folded())
        data = self.checkpoint.read_bytes()
        for size in (9, 100, len(data) - 1):
            self.checkpoint.write_bytes(data[:size])
            self.refuse("xfeat")
        self.checkpoint.write_bytes(
            data.replace(b'"F32"', b'"U99"', 1))
        self.refuse("xfeat", "cannot be read")


class Formats(ConvertWeightsTest):
    """Ways in which PyTorch stores the same weights."""

    def test_both_formats(self):
        for zipped in (True, False):
            with self.subTest(zipped=zipped):
                self.save({"state_dict": self.fine()}, zipped)
                _, arrays, _ = self.convert("nre_fine")
                self.assert_equal_arrays(arrays, self.fine())

    def test_gpu_tensors_and_parameters(self):
        state = collections.OrderedDict(
            (name, torch.nn.Parameter(tensor, tensor.is_floating_point()))
            for name, tensor in self.fine().items())
        for zipped in (True, False):
            with mock.patch("torch.serialization.location_tag",
                            return_value="cuda:0"):
                self.save({"state_dict": state}, zipped)
            _, arrays, _ = self.convert("nre_fine")
            self.assert_equal_arrays(arrays, self.fine())

    def test_other_floating_point_types(self):
        for dtype in (torch.float16, torch.bfloat16, torch.float64):
            state = self.fine()
            for name, tensor in state.items():
                if tensor.is_floating_point():
                    state[name] = tensor.to(dtype)
            for zipped in (True, False):
                with self.subTest(dtype=dtype, zipped=zipped):
                    self.save({"state_dict": state}, zipped)
                    _, arrays, _ = self.convert("nre_fine")
                    self.assert_equal_arrays(arrays, {
                        name: tensor.float() if tensor.is_floating_point()
                        else tensor for name, tensor in state.items()})

    def test_views_of_a_shared_storage(self):
        state = self.fine()
        name = "cnn.8.weight"
        wide = torch.zeros(288, 290, 1, 1)
        wide[:, 1:289] = state[name]
        state[name] = wide[:, 1:289]
        other = "cnn.2.conv.weight"
        state[other] = state[other].permute(3, 2, 1, 0).contiguous().permute(
            3, 2, 1, 0)
        for zipped in (True, False):
            self.save({"state_dict": state}, zipped)
            _, arrays, _ = self.convert("nre_fine")
            self.assert_equal_arrays(arrays, self.fine())


class Hostile(ConvertWeightsTest):
    """Checkpoints that want more than to be read."""

    def test_runs_nothing(self):
        marker = self.folder / "marker"
        for call in (Runs(os.system, f"touch {marker}"),
                     Runs(eval, f"open({str(marker)!r}, 'w')"),
                     Runs(torch.load, str(marker)),
                     Runs(open, str(marker), "w")):
            contents = {"state_dict": self.fine(), "other": [call]}
            for zipped in (True, False):
                with self.subTest(call=call.call, zipped=zipped):
                    self.save(contents, zipped)
                    _, arrays, stderr = self.convert("nre_fine")
                    self.assertIn("ignored objects of", stderr)
                    self.assertFalse(marker.exists())
                    self.assert_equal_arrays(arrays, self.fine())
        # Where it would have run:
        pickle.loads(pickle.dumps(Runs(os.system, f"touch {marker}")))
        self.assertTrue(marker.exists())

    def test_runs_nothing_in_place_of_weights(self):
        marker = self.folder / "marker"
        call = Runs(os.system, f"touch {marker}")
        state = self.fine()
        state["cnn.8.weight"] = call
        for contents, word in ((call, "'state_dict'"),
                               ({"state_dict": call}, "no named tensors"),
                               ({"state_dict": state}, "not a tensor")):
            for zipped in (True, False):
                self.save(contents, zipped)
                self.refuse("nre_fine", word)
        with open(self.checkpoint, "wb") as file:
            pickle.dump(call, file)
        self.refuse("nre_fine", "cannot be read")
        self.assertFalse(marker.exists())

    def test_foreign_objects(self):
        module = "pytorch_lightning.utilities.parsing"
        attributes = reference.lightning_class(module, "AttributeDict", dict)
        values = reference.lightning_class("omegaconf", "ListConfig", list)
        state = reference.lightning_class("omegaconf", "Node", object)()
        state.content = np.arange(3)
        self.save({"hyper_parameters": attributes(level="fine", rate=0.1),
                   "more": [values([1, 2]), {attributes: state}],
                   "state_dict": self.fine()})
        _, arrays, stderr = self.convert("nre_fine")
        self.assertIn("omegaconf.ListConfig", stderr)
        self.assert_equal_arrays(arrays, self.fine())

    def test_views_outside_of_their_storage(self):
        storage = torch.zeros(4).storage()
        for offset, strides in ((0, (288, 1, 1, 1)), (10**9, (0, 0, 0, 0)),
                                (-1, (0, 0, 0, 0)), (0, (-1, 0, 0, 0))):
            state = self.fine()
            state["cnn.8.weight"] = Runs(
                torch._utils._rebuild_tensor_v2, storage, offset,
                (288, 288, 1, 1), strides, False, collections.OrderedDict())
            self.save({"state_dict": state})
            self.refuse("nre_fine", "cnn.8.weight (not within its storage)")

    def test_changed_storages(self):
        def text(string):
            return b"X" + struct.pack("<I", len(string)) + string.encode()
        storage = (b"(" + text("storage") + b"ctorch\nFloatStorage\n"
                   + text("0") + text("cpu") + b"K\x04tQ")
        change = b"}" + text("dtype") + text("O") + b"sb"
        for pickled, word in ((storage + b".", "'state_dict'"),
                              (storage + change + b".", "is changed")):
            with zipfile.ZipFile(self.checkpoint, "w") as archive:
                archive.writestr("a/data.pkl", b"\x80\x02" + pickled)
                archive.writestr("a/data/0", bytes(16))
            self.refuse("nre_fine", word)

    def test_terminal_sequences_in_names(self):
        state = self.fine()
        state["cnn\n\x1b[2J"] = torch.zeros(1)
        self.save({"state_dict": state})
        self.refuse("nre_fine", "unknown: cnn  [2J")


class BadInput(ConvertWeightsTest):
    """Every error is one line and leaves no file."""

    def test_absent(self):
        self.refuse("nre_fine", "checkpoint.pth", "No such file")
        self.refuse("nre_fine", "Is a directory", checkpoint=self.folder)

    def test_output(self):
        self.save({"state_dict": self.fine()})
        self.refuse("nre_fine", "no such folder",
                    output=self.folder / "absent" / "weights.safetensors")
        self.refuse("nre_fine", "is a folder", output=self.folder)
        before = self.checkpoint.read_bytes()
        self.refuse("nre_fine", "would replace", output=self.checkpoint)
        self.assertEqual(self.checkpoint.read_bytes(), before)

    def test_failure_to_write_keeps_the_old_file(self):
        self.output.write_bytes(b"old")
        with mock.patch("os.replace", side_effect=OSError("full")), \
                self.assertRaises(OSError):
            convert_weights.write_safetensors(
                self.output, {"a": np.zeros(3, np.float32)}, {})
        self.assertEqual(list(self.folder.iterdir()), [self.output])
        self.assertEqual(self.output.read_bytes(), b"old")

    def test_truncated(self):
        for zipped in (True, False):
            self.save({"state_dict": self.fine()}, zipped)
            data = self.checkpoint.read_bytes()
            for size in (0, 1, 4, 100, len(data) // 100, len(data) // 2,
                         len(data) - 1):
                with self.subTest(zipped=zipped, size=size):
                    self.checkpoint.write_bytes(data[:size])
                    self.refuse("nre_fine", "cannot be read", "truncated")

    def test_flipped_byte_in_a_zip(self):
        self.save({"state_dict": self.fine()})
        data = bytearray(self.checkpoint.read_bytes())
        data[len(data) // 2] ^= 1
        self.checkpoint.write_bytes(data)
        self.refuse("nre_fine", "cannot be read", "CRC")

    def test_foreign_files(self):
        for data in (b"\x89PNG\r\n\x1a\n" + bytes(100), b"PK\x03\x04" * 50,
                     b"hello\n", b"K\x01.", pickle.dumps({"a": 1})):
            with self.subTest(data[:8]):
                self.checkpoint.write_bytes(data)
                self.refuse("nre_fine", "cannot be read")
        self.refuse("nre_fine", "missing: cnn.0", "unknown: cells_0",
                    checkpoint=HERE / "networks/nre_fine.safetensors")

    def test_torchscript(self):
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(self.checkpoint))
        self.refuse("nre_fine", "'state_dict'")

    def test_other_networks(self):
        self.save({"state_dict": self.fine()})
        self.refuse("nre_coarse", "as nre_coarse", "missing: cnn.10.branch3x3",
                    "in all", "unknown: ")
        self.refuse("vgg16", "unknown: state_dict")
        self.refuse("gnnet", "'model_state_dict'")
        self.save([self.fine()])
        self.refuse("nre_fine", "'state_dict'")
        self.refuse("vgg16", "no named tensors")

    def test_keys_and_shapes(self):
        name = "cnn.9.running_mean"
        state = self.fine()
        tensor = state.pop(name)
        self.save({"state_dict": state})
        self.refuse("nre_fine", f"missing: {name}\n")
        self.save({"state_dict": {**state, name: tensor,
                                  "cnn.10.bias": tensor}})
        self.refuse("nre_fine", "unknown: cnn.10.bias\n")
        self.save({"state_dict": {**state, name: tensor[1:]}})
        self.refuse("nre_fine", f"unusable: {name} ([287] instead of [288])\n")

    def test_values(self):
        name, count = "cnn.9.running_mean", "cnn.9.num_batches_tracked"
        for changed, value, word in (
                (name, torch.full((288,), float("nan")), "not finite"),
                (name, torch.zeros(288).double() + 1e300, "not finite"),
                (name, torch.zeros(288, dtype=torch.int32), "int32"),
                (name, torch.zeros(288, dtype=torch.complex64), "complex64"),
                (name, torch.zeros(288).to_sparse(), "not a tensor"),
                (name, np.zeros(288, np.float32), "not a tensor"),
                (name, [0.0] * 288, "not a tensor"),
                (count, torch.zeros(()), "float32")):
            with self.subTest(word=word):
                self.save({"state_dict": {**self.fine(), changed: value}})
                self.refuse("nre_fine", f"{changed} (", word)

    def test_two_names_for_a_tensor(self):
        state = reference.seeded_state(reference.S2dhm())
        state["pool.module.centroids"] = state["pool.centroids"]
        self.save({"state_dict": state}, zipped=False)
        self.refuse("s2dhm", "two tensors for pool.centroids")


class Reference(unittest.TestCase):
    """The stored fixtures are what network_reference.py writes."""

    def test_seeded_values(self):
        # FNV-1a's published hash of "a"; SplitMix64's first number of seed 0.
        self.assertEqual(reference.fnv1a("a"), 0xAF63DC4C8601EC8C)
        with mock.patch.object(reference, "fnv1a", return_value=0):
            value = reference.seeded_values("", (1,))[0]
        self.assertEqual(value, (0xE220A8397B1DCDAF >> 40) / 2**23 - 1)

    def test_fixture(self):
        metadata, stored = read_safetensors(
            HERE / "networks" / "nre_fine.safetensors")
        self.assertEqual(metadata, {"network": "nre_fine"})
        made = reference.fixture("nre_fine")
        self.assertEqual(stored.keys(), made.keys())
        for name, values in made.items():
            np.testing.assert_allclose(stored[name], values, 1e-5, 1e-6, name)


if __name__ == "__main__":
    torch.set_num_threads(1)
    unittest.main()
