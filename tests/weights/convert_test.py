"""Foreign files to checkpoints: every format and network, layer by layer against `tests.networks.torch_oracles`."""

import dataclasses
import functools
import hashlib
import os
import pathlib
import re
import subprocess
import sys
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from flax import nnx

import cwcf_jax
from cwcf_jax import encoder, networks
from cwcf_jax.networks import CheckpointError, Preprocessing, definition, layers, layouts
from tests import shared
from tests.compilation import quickly
from tests.networks import torch_oracles
from tests.weights.formats import mutations, writers
from weights import convert, manifest
from weights.formats import FormatError

TOLERANCE = 1e-5  # of the largest value of a layer
VGG = ("BGR", (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
CAFFE = ("BGR", (104.0, 117.0, 123.0), (1.0, 1.0, 1.0))
TORCHVISION = ("RGB", (0.485 * 255, 0.456 * 255, 0.406 * 255), (1 / 0.229 / 255, 1 / 0.224 / 255, 1 / 0.225 / 255))
HEAD = ("CAM_conv", "CAM_fc")
AUTHORS_HEAD = ("CAM_relu", "dense_1")

FOREIGN = {  # forward pass, form of the kernels, size of the input and of its values
    "caffe_vgg16_cam_grouped": (
        functools.partial(torch_oracles.vgg16, names=torch_oracles.CAFFE, cam=HEAD, groups=2),
        "torch",
        (35, 50, 60.0),
    ),
    "keras_vgg16_cam": (
        functools.partial(torch_oracles.vgg16, names=torch_oracles.AUTHORS, cam=AUTHORS_HEAD),
        "keras",
        (35, 50, 60.0),
    ),
    "theano_vgg16_cam": (
        functools.partial(torch_oracles.vgg16, names=torch_oracles.AUTHORS, cam=AUTHORS_HEAD),
        "theano",
        (35, 50, 60.0),
    ),
    "keras_vgg16": (
        functools.partial(torch_oracles.vgg16, names=torch_oracles.APPLICATIONS),
        "keras",
        (35, 50, 60.0),
    ),
    "theano_vgg16": (
        functools.partial(torch_oracles.vgg16, names=torch_oracles.APPLICATIONS),
        "theano",
        (35, 50, 60.0),
    ),
    "torch_vgg16": (functools.partial(torch_oracles.vgg16, names=torch_oracles.TORCHVISION), "torch", (35, 50, 1.0)),
    "caffe_googlenet": (torch_oracles.googlenet, "torch", (75, 101, 60.0)),
    "caffe_googlenet_cam": (functools.partial(torch_oracles.googlenet, cam=True), "torch", (75, 101, 60.0)),
    "caffe_squeezenet1_1": (torch_oracles.squeezenet, "torch", (75, 101, 60.0)),
    "keras_squeezenet1_1": (torch_oracles.squeezenet, "keras", (75, 101, 60.0)),
    "torch_squeezenet1_1": (torch_oracles.squeezenet_torchvision, "torch", (75, 101, 1.0)),
    "torch_resnet50": (torch_oracles.resnet50, "torch", (75, 101, 1.0)),
    "torch_densenet161": (torch_oracles.densenet161, "torch", (75, 101, 1.0)),
}
AUXILIARY = [  # bvlc_googlenet: the classifiers that helped training are in the file
    ("loss1/conv", "Convolution", [np.ones((4, 5, 1, 1), np.float32), np.ones(4, np.float32)]),
    ("loss2/classifier", "InnerProduct", [np.ones((3, 4), np.float32), np.ones(3, np.float32)]),
]


@functools.cache
def _drawn(name):
    """Random foreign weights, an input, and what comes out: logits and maps in float64."""
    network, form, (height, width, scale) = FOREIGN[name]
    weights = torch_oracles.Weights(sorted(FOREIGN).index(name), form)
    inputs = np.random.default_rng(0).normal(size=(1, height, width, 3), scale=scale).astype(np.float32)
    return weights, inputs, *torch_oracles.forward(network, weights, inputs)


@functools.cache
def _apply(network):
    return quickly(network.apply)


def _keras(layout):
    def write(path, weights):
        writers.write_keras(path, {name: arrays for name, _, arrays in weights.as_layers()}, layout=layout)

    return write


def _session(path, weights):
    """As Keras 1 names the layers of the second model of a session."""

    def later(name):
        name = re.sub(r"(?<=convolution2d_)\d+", lambda match: str(int(match[0]) + 13), name)
        return name.replace("dense_1", "dense_4")

    writers.write_keras(path, {later(name): arrays for name, _, arrays in weights.as_layers()}, layout="keras1")


def _older_names(path, weights):
    """As densenet161-8d451a50.pth: ``norm.1`` for ``norm1``, and no counters."""
    state = weights.as_state().items()
    older = {
        re.sub(r"\.(norm|conv)([12])\.", r".\1.\2.", key): array for key, array in state if "num_batches" not in key
    }
    writers.write_pth(path, older, legacy=True)


WRITERS = {
    "caffemodel": lambda path, weights: writers.write_caffemodel(path, weights.as_layers()),
    "caffemodel_auxiliary": lambda path, weights: writers.write_caffemodel(path, weights.as_layers() + AUXILIARY),
    "caffemodel_v1": lambda path, weights: writers.write_caffemodel(path, weights.as_layers(), "v1"),
    "h5_keras1": _keras("keras1"),
    "h5_keras1_session": _session,
    "h5_keras2": _keras("keras2"),
    "pth": lambda path, weights: writers.write_pth(path, weights.as_state()),
    "pth_legacy": lambda path, weights: writers.write_pth(path, weights.as_state(), legacy=True),
    "pth_older": _older_names,
    "safetensors": lambda path, weights: writers.write_safetensors(path, weights.as_state()),
    "npz": lambda path, weights: np.savez(path, **weights.as_state()),
    "npz_caffe": lambda path, weights: np.savez(
        path,
        **{
            f"{name}/{part}": array
            for name, _, arrays in weights.as_layers()
            for part, array in zip("Wb", arrays, strict=True)
        },
    ),
}

WHOLE = (  # foreign weights, how they are written, network, layout on record, preprocessing on record
    ("caffe_vgg16_cam_grouped", "caffemodel", "vgg16_cam_grouped", "caffe", VGG),
    ("caffe_vgg16_cam_grouped", "caffemodel_v1", "vgg16_cam_grouped", "caffe", VGG),
    ("theano_vgg16_cam", "h5_keras1", "vgg16_cam", "keras, unnamed layers", VGG),
    ("keras_vgg16_cam", "h5_keras1_session", "vgg16_cam", "keras, unnamed layers", VGG),
    ("caffe_googlenet", "caffemodel_auxiliary", "googlenet", "caffe", CAFFE),
    ("caffe_googlenet", "caffemodel_v1", "googlenet", "caffe", CAFFE),
    ("caffe_googlenet_cam", "caffemodel", "googlenet_cam", "caffe", CAFFE),
    ("caffe_googlenet_cam", "caffemodel_v1", "googlenet_cam", "caffe", CAFFE),
    ("caffe_googlenet_cam", "npz_caffe", "googlenet_cam", "caffe", CAFFE),
    ("caffe_squeezenet1_1", "caffemodel", "squeezenet1_1", "caffe", CAFFE),
    ("caffe_squeezenet1_1", "caffemodel_v1", "squeezenet1_1", "caffe", CAFFE),
    ("keras_squeezenet1_1", "h5_keras2", "squeezenet1_1", "keras", CAFFE),
    ("torch_squeezenet1_1", "pth", "squeezenet1_1", "torchvision", TORCHVISION),
    ("torch_squeezenet1_1", "pth_legacy", "squeezenet1_1", "torchvision", TORCHVISION),
    ("torch_squeezenet1_1", "safetensors", "squeezenet1_1", "torchvision", TORCHVISION),
    ("torch_squeezenet1_1", "npz", "squeezenet1_1", "torchvision", TORCHVISION),
    ("torch_resnet50", "pth", "resnet50", "torchvision", TORCHVISION),
    ("torch_resnet50", "pth_legacy", "resnet50", "torchvision", TORCHVISION),
    ("torch_resnet50", "safetensors", "resnet50", "torchvision", TORCHVISION),
    ("torch_densenet161", "pth", "densenet161", "torchvision", TORCHVISION),
    ("torch_densenet161", "pth_older", "densenet161", "torchvision, older names", TORCHVISION),
)
TRUNKS = (
    ("keras_vgg16", "h5_keras2", "keras"),
    ("theano_vgg16", "h5_keras1", "keras"),
    ("torch_vgg16", "pth", "torchvision"),
    ("caffe_vgg16_cam_grouped", "caffemodel", "caffe"),
)


class FolderTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.output = self.folder / "out" / "checkpoint"

    def written(self, name, writer):
        path = self.folder / f"weights.{writer.split('_')[0]}"
        WRITERS[writer](path, _drawn(name)[0])
        return path

    def refused(self, error, *arguments, **options):
        """What `convert` says; nothing may be left but what was there."""
        before = sorted(self.folder.rglob("*"))
        with self.assertRaises(error) as caught:
            convert.convert(*arguments, **options)
        self.assertEqual(sorted(self.folder.rglob("*")), before)
        return str(caught.exception)


class LayersTest(FolderTest):
    """The production path: the file as its own tool writes it, `convert`, an Orbax checkpoint, `load`."""

    def check_maps(self, network, params, name, *, trunk=False):
        _, inputs, logits, maps = _drawn(name)
        sizes = jnp.array([inputs.shape[1:3]], jnp.int32)
        found_logits, found = _apply(network)(params, inputs, sizes)
        if trunk:
            maps = {layer: maps[layer] for layer in found if layer not in network.spec.head}
        else:
            self.assertEqual(found.keys(), maps.keys())
            found, maps = found | {"logits": found_logits}, maps | {"logits": logits}
        for layer, expected in maps.items():
            self.assertEqual(found[layer].shape, expected.shape)
            error = np.abs(np.asarray(found[layer], np.float64) - expected).max() / np.abs(expected).max()
            self.assertLess(error, TOLERANCE, layer)

    @parameterized.named_parameters(*((f"{case[0]}_{case[1]}", *case) for case in WHOLE))
    def test_every_layer(self, name, writer, network, layout, preprocessing):
        file = self.written(name, writer)
        record = convert.convert(file, networks.get(network), self.output)
        model = cwcf_jax.load(network, self.output)
        self.check_maps(networks.get(network), model.params, name)
        self.assertEqual(model.network.spec.preprocessing.channel_order, preprocessing[0])
        np.testing.assert_allclose(model.network.spec.preprocessing.mean, preprocessing[1], rtol=1e-12)
        np.testing.assert_allclose(model.network.spec.preprocessing.scale, preprocessing[2], rtol=1e-12)
        self.assertEqual(networks.read_provenance(self.output), record)
        self.assertEqual((record.network, record.layout, record.complete), (network, layout, True))
        self.assertEqual(record.sha256, hashlib.sha256(file.read_bytes()).hexdigest())
        self.assertEqual((record.source, record.licence), (file.name, "unknown"))

    @parameterized.named_parameters(*((f"{case[0]}_{case[1]}", *case) for case in TRUNKS))
    def test_every_layer_of_a_trunk(self, name, writer, layout):
        network = networks.get("vgg16_cam")
        record = convert.convert(self.written(name, writer), network, self.output, trunk=True, licence="CC BY 4.0")
        self.assertEqual((record.layout, record.complete, record.licence), (layout, False, "CC BY 4.0"))
        params = networks.load_params(network, self.output, trunk=True)
        self.assertEqual(set(params), set(torch_oracles.CAFFE))
        head = {layer: network.shapes()[layer] for layer in network.spec.head}
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), head)
        self.check_maps(network, params | zeros, name, trunk=True)
        with self.assertRaisesRegex(CheckpointError, "Train a head on them: .*train_cam"):
            cwcf_jax.load("vgg16_cam", self.output)

    def test_plain_vgg16(self):
        """138 million parameters, so in one format only; `tests.networks.vgg_test` has the others' dense layers."""
        weights = torch_oracles.Weights(3)
        dense = ("classifier.0", "classifier.3", "classifier.6")
        network = functools.partial(torch_oracles.vgg16, names=torch_oracles.TORCHVISION, dense=dense)
        few = np.random.default_rng(0).normal(size=(64, 25088), scale=0.01).astype(np.float32)
        # Most of the first dense layer's outputs are their bias: that is seconds less for the same layout.
        weights.layers[dense[0]] = {"weight": np.concatenate([few, np.zeros((4032, 25088), np.float32)])}
        inputs = np.random.default_rng(0).normal(size=(1, 35, 50, 3)).astype(np.float32)
        logits, maps = torch_oracles.forward(network, weights, inputs)
        file, output = self.folder / "vgg16.safetensors", self.folder / "vgg16.npz"
        writers.write_safetensors(file, weights.as_state())
        vgg16 = networks.get("vgg16")
        record = convert.convert(file, vgg16, output)
        self.assertEqual((record.layout, record.complete), ("torchvision", True))
        params = networks.load_params(vgg16, output)
        found_logits, found = _apply(vgg16)(params, inputs, jnp.array([[35, 50]], jnp.int32))
        for layer, expected in (maps | {"logits": logits}).items():
            error = np.abs(np.asarray((found | {"logits": found_logits})[layer]) - expected).max()
            self.assertLess(error / np.abs(expected).max(), TOLERANCE, layer)
        with self.assertRaisesRegex(ValueError, "no class activation maps.*--network=vgg16_cam --trunk=FILE"):
            cwcf_jax.load("vgg16", output)

    @parameterized.parameters("npz", "safetensors", "pth")
    def test_own_names(self, suffix):
        network = networks.get("squeezenet1_1")
        params = jax.tree.map(lambda leaf: leaf + 0.5, network.initialize(0))
        flat = {"/".join(key.key for key in path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(params)}
        file = self.folder / f"weights.{suffix}"
        write = {"npz": lambda path, state: np.savez(path, **state)}
        write |= {"safetensors": writers.write_safetensors, "pth": writers.write_pth}
        write[suffix](file, flat)
        record = convert.convert(file, network, self.output)
        self.assertEqual((record.layout, record.preprocessing), ("own", network.spec.preprocessing))
        jax.tree.map(np.testing.assert_array_equal, cwcf_jax.load("squeezenet1_1", self.output).params, params)

    @parameterized.parameters(("caffe_squeezenet1_1", "caffemodel"), ("torch_squeezenet1_1", "pth"))
    def test_pixels_go_through_the_preprocessing_on_record(self, name, writer):
        weights, inputs, *_ = _drawn(name)
        image = np.random.default_rng(5).integers(0, 256, inputs.shape[1:]).astype(np.uint8)
        if writer == "caffemodel":
            seen = image[..., ::-1] - np.array([104.0, 117.0, 123.0])
        else:
            seen = (image / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
        expected, _ = torch_oracles.forward(FOREIGN[name][0], weights, seen[None])
        convert.convert(self.written(name, writer), networks.get("squeezenet1_1"), self.output)
        model = cwcf_jax.load("squeezenet1_1", self.output)
        found = encoder.pool(model, image[None], num_classes=1).logits
        np.testing.assert_allclose(found, expected, atol=TOLERANCE * np.abs(expected).max())


class ReleasedTest(FolderTest):
    def test_keras_and_caffe_release_the_same_squeezenet(self):
        network = networks.get("squeezenet1_1")
        file = shared.require("weights/squeezenet_v1.1_keras_notop.h5")
        record = convert.convert(file, network, self.output, trunk=True)
        self.assertEqual((record.layout, record.complete), ("keras", False))
        released = self.folder / "released.npz"
        convert.convert(shared.require("weights/squeezenet_v1.1.npz"), network, released)
        whole = networks.load_params(network, released)
        trunk = networks.load_params(network, self.output, trunk=True)
        self.assertEqual(whole.keys() - trunk.keys(), {"conv10"})
        jax.tree.map(np.testing.assert_array_equal, trunk, {layer: whole[layer] for layer in trunk})
        inputs = np.random.default_rng(0).normal(size=(1, 75, 101, 3), scale=60.0).astype(np.float32)
        sizes = jnp.array([[75, 101]], jnp.int32)
        zeros = jax.tree.map(jnp.zeros_like, whole)
        _, expected = _apply(network)(whole, inputs, sizes)
        _, found = _apply(network)(zeros | trunk, inputs, sizes)
        np.testing.assert_array_equal(found["fire9"], expected["fire9"])
        self.assertGreater(float(expected["fire9"].max()), 1.0)

    def test_without_the_top_it_is_not_whole(self):
        file = shared.require("weights/squeezenet_v1.1_keras_notop.h5")
        message = self.refused(CheckpointError, file, networks.get("squeezenet1_1"), self.output)
        self.assertIn("missing conv10/kernel, for conv10/kernel", message)
        self.assertIn("--trunk takes them alone", message)

    def test_a_file_that_the_manifest_knows(self):
        file = self.written("caffe_squeezenet1_1", "caffemodel")
        digest = hashlib.sha1(file.read_bytes()).hexdigest()  # noqa: S324 - as upstream publishes it
        known = dataclasses.replace(
            manifest.read()["googlenet_bvlc"], hash=manifest.Hash("sha1", digest), licence="BSD", paper="Iandola"
        )
        with mock.patch.object(manifest, "read", return_value={"other": manifest.read()["vgg16_caffe"], "it": known}):
            record = convert.convert(file, networks.get("squeezenet1_1"), self.output)
        self.assertEqual((record.source, record.licence, record.notes["paper"]), (known.url, "BSD", "Iandola"))


class FaultsTest(FolderTest):
    def test_every_fault_is_named_at_once_by_its_own_key(self):
        state = _drawn("torch_squeezenet1_1")[0].as_state()
        state["features.3.squeeze.extra"] = state.pop("features.3.squeeze.weight")
        state["features.4.squeeze.weight"] = state["features.4.squeeze.weight"].transpose(1, 0, 2, 3)
        state["features.6.squeeze.weight"] = state["features.6.squeeze.weight"][:, :, 0]
        state["features.0.bias"] = np.where(np.arange(64) == 9, np.nan, state["features.0.bias"]).astype(np.float32)
        state["features.7.expand3x3.bias"] = np.full(128, 1e300)
        state["features.9.squeeze.bias"] = np.arange(48)
        state["features.10.squeeze.bias"] = np.zeros((), np.float32)
        state[0] = np.zeros(3, np.float32)
        file = self.folder / "weights.pth"
        writers.write_pth(file, state)
        message = self.refused(CheckpointError, file, networks.get("squeezenet1_1"), self.output)
        faults = [line.strip() for line in message.splitlines()[1:]]
        expected = [
            "missing features.3.squeeze.weight, for fire2/squeeze1x1/kernel",
            "unmapped 0 (3,)",
            "unmapped features.3.squeeze.extra (16, 64, 1, 1)",
            "not finite features.0.bias",
            "mis-shaped features.10.squeeze.bias (): () for fire7/squeeze1x1/bias (48,)",
            "mis-shaped features.4.squeeze.weight (128, 16, 1, 1): (1, 1, 16, 128) for fire3/squeeze1x1/kernel "
            "(1, 1, 128, 16)",
            "mis-shaped features.6.squeeze.weight (32, 128, 1), for fire4/squeeze1x1/kernel: 3 axes instead of 4",
            "not finite features.7.expand3x3.bias",
            "not floating point features.9.squeeze.bias: int64",
        ]
        self.assertEqual(faults, expected)

    @parameterized.parameters(
        ("caffe_squeezenet1_1", "caffemodel", "vgg16_cam", "The file is that of --network=squeezenet1_1"),
        ("torch_resnet50", "pth", "densenet161", "The file is that of --network=resnet50"),
        ("caffe_vgg16_cam_grouped", "caffemodel", "vgg16_cam", "The file is that of --network=vgg16_cam_grouped"),
        ("torch_vgg16", "safetensors", "vgg16_cam", "The layers before the head are there: --trunk"),
    )
    def test_another_network(self, name, writer, network, hint):
        file = self.written(name, writer)
        message = self.refused(CheckpointError, file, networks.get(network), self.output)
        self.assertIn(f"does not hold {network}:", message)
        self.assertIn(hint, message)

    def test_an_output_that_is_there_is_left_alone(self):
        file = self.written("caffe_squeezenet1_1", "npz_caffe")
        network = networks.get("squeezenet1_1")
        for output in (self.folder / "is_there", self.folder / "is_there.npz"):
            output.write_text("precious")
            message = self.refused(FileExistsError, file, network, output)
            self.assertIn("exists already", message)
            self.assertEqual(output.read_text(), "precious")
        (self.folder / "folder").mkdir()
        self.refused(FileExistsError, file, network, self.folder / "folder")

    def test_sources_that_are_none(self):
        network = networks.get("squeezenet1_1")
        self.refused(FileNotFoundError, self.folder / "nowhere.pth", network, self.output)
        (self.folder / "page.pth").write_text("<!DOCTYPE html>")
        self.assertIn("web page", self.refused(FormatError, self.folder / "page.pth", network, self.output))
        self.assertIn("directory", self.refused(FormatError, self.folder, network, self.output))
        convert.convert(self.written("caffe_squeezenet1_1", "npz_caffe"), network, self.folder / "own.npz")
        self.assertIn("needs no conversion", self.refused(FormatError, self.folder / "own.npz", network, self.output))

    @parameterized.parameters(("out", "shutil.move"), ("out.npz", "shutil.move"), ("out.npz", "numpy.savez"))
    def test_a_full_disk_leaves_nothing(self, output, function):
        file = self.written("caffe_squeezenet1_1", "npz_caffe")
        with mock.patch(function, side_effect=OSError("no space left")):
            message = self.refused(OSError, file, networks.get("squeezenet1_1"), self.folder / output)
        self.assertEqual(message, "no space left")


class CommandTest(FolderTest):
    def start(self, *arguments):
        command = [sys.executable, "-m", "weights.convert", *arguments]
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=shared.ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)

    def test_success_and_failure(self):
        file = self.written("torch_squeezenet1_1", "pth")
        good = self.start(f"--source={file}", f"--output={self.output}", "--network=squeezenet1_1")
        other = self.start(f"--source={file}", f"--output={self.folder / 'other'}", "--network=googlenet")
        output, errors = good.communicate(timeout=300)
        self.assertEqual(good.returncode, 0, errors)
        self.assertEqual(output, f"{self.output}: squeezenet1_1; torchvision layout\n")
        self.assertIsNotNone(networks.read_provenance(self.output))
        output, errors = other.communicate(timeout=300)
        self.assertEqual((other.returncode, output), (1, ""))
        self.assertStartsWith(errors, f"convert: {file} does not hold googlenet:\n  ")
        self.assertEndsWith(errors, "The file is that of --network=squeezenet1_1\n")
        self.assertNotIn("Traceback", errors)
        self.assertFalse((self.folder / "other").exists())


class Tiny(nnx.Module):
    def __init__(self, rngs, *, num_classes):
        self.conv1 = layers.Conv(3, 5, 3, rngs=rngs)
        self.conv2 = layers.Conv(5, 7, 1, rngs=rngs)
        self.classifier = layers.Dense(7, num_classes, rngs=rngs)

    def __call__(self, inputs, sizes):
        maps = layers.conv_relu(self.conv2, layers.conv_relu(self.conv1, inputs, sizes), sizes)
        return self.classifier(layers.mean_pool(maps, sizes)), {"conv2": maps}


NAMES = {name: name for name in ("conv1", "conv2")}
ANY = Preprocessing("RGB", (0.0, 0.0, 0.0))


def _tiny_sizes(sizes):
    return {"conv2": sizes}


def _tiny_layouts():
    torch = layouts.torch(NAMES, bias=False) | layouts.torch_norm({"bn1": "conv1", "bn2": "conv2"})
    return (
        networks.Layout("caffe", layouts.caffe(NAMES | {"classifier": "classifier"}, classifiers=["classifier"]), ANY),
        networks.Layout("keras", layouts.keras(NAMES | {"classifier": "classifier"}), ANY),
        networks.Layout("keras, Theano order", layouts.keras(NAMES | {"classifier": "classifier"}), ANY),
        networks.Layout(
            "torchvision",
            torch | layouts.torch({"classifier": "classifier"}, transform=layouts.dense),
            ANY,
            ("bn3.*",),
        ),
    )


def _tiny():
    layer = networks.Layer("conv2", 7, 1)
    spec = networks.NetworkSpec(
        "tiny", (layer,), "conv2", layer, "classifier", ("classifier",), ANY, 4, ("a", "b", "c", "d")
    )
    return definition.define_network(spec, Tiny, _tiny_sizes, _tiny_layouts)


class HostileTest(FolderTest):
    """Damaged files on the whole path: refused by name, or checkpoints of finite parameters; nothing else is left."""

    def arrays(self):
        generator = np.random.default_rng(0)
        shapes = {"conv1": (5, 3, 3, 3), "conv2": (7, 5, 1, 1), "classifier": (4, 7)}
        draw = lambda shape: generator.normal(size=shape).astype(np.float32)  # noqa: E731
        return {name: (draw(shape), draw(shape[0])) for name, shape in shapes.items()}

    def torch_state(self):
        state = {}
        for name, (kernel, bias) in self.arrays().items():
            state[f"{name}.weight"] = kernel
            if name == "classifier":
                state[f"{name}.bias"] = bias
            else:
                norm = name.replace("conv", "bn")
                state |= {f"{norm}.{part}": np.abs(bias) for part in ("weight", "bias", "running_mean", "running_var")}
        return state

    def write(self, path):
        arrays = self.arrays()
        if path.suffix == ".caffemodel":
            kinds = {"classifier": "InnerProduct"}
            blobs = [(name, kinds.get(name, "Convolution"), pair) for name, pair in arrays.items()]
            writers.write_caffemodel(path, blobs)
        elif path.suffix == ".h5":
            theano = {name: (w.T if w.ndim == 2 else w.transpose(2, 3, 1, 0), b) for name, (w, b) in arrays.items()}
            writers.write_keras(path, theano, order="theano", layout="keras1")
        elif path.suffix == ".pth":
            writers.write_pth(path, self.torch_state())
        elif path.suffix == ".safetensors":
            writers.write_safetensors(path, self.torch_state())
        else:
            np.savez(path, **self.torch_state())

    @parameterized.parameters("tensorflow", "theano", "theano_unrotated")
    def test_kernel_order_chooses_between_layouts_of_the_same_names(self, order):
        """As in VGG-16, whose first dense layer sees maps that Theano flattens in another order."""
        file = self.folder / "weights.h5"
        self.write(file)
        option = None if order == "theano" else order
        if order == "tensorflow":
            arrays = self.arrays()
            keras = {name: (w.T if w.ndim == 2 else w.transpose(2, 3, 1, 0), b) for name, (w, b) in arrays.items()}
            writers.write_keras(file, keras)
        record = convert.convert(file, _tiny(), self.output, kernel_order=option)
        self.assertEqual(record.layout, "keras" if order == "tensorflow" else "keras, Theano order")
        self.assertEqual(record.notes["kernel_order"], order)
        self.assertEqual((record.num_classes, record.class_names), (4, ("a", "b", "c", "d")))
        kernel = networks.load_params(_tiny(), self.output)["conv1"]["kernel"]
        expected = self.arrays()["conv1"][0].transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(kernel, expected[::-1, ::-1] if order == "theano_unrotated" else expected)

    @parameterized.parameters(".caffemodel", ".h5", ".pth", ".safetensors", ".npz")
    def test_damaged_files(self, suffix):
        network = _tiny()
        sound = self.folder / f"sound{suffix}"
        self.write(sound)
        convert.convert(sound, network, self.output)  # an Orbax checkpoint; the others are smaller
        loaded = networks.load_params(network, self.output)
        accepted = 0
        for number, content in enumerate(mutations.mutations(sound.read_bytes(), 40, seed=11)):
            file = self.folder / f"damaged_{number}{suffix}"
            file.write_bytes(content)
            output = self.folder / f"{number}.npz"
            before = sorted(self.folder.rglob("*"))
            try:
                convert.convert(file, network, output)
            except (FormatError, CheckpointError) as error:
                self.assertIn(str(file), str(error))
                self.assertEqual(sorted(self.folder.rglob("*")), before)
                continue
            accepted += 1
            self.assertEqual(networks.read_provenance(output).network, "tiny")
            for leaf, wanted in zip(
                jax.tree.leaves(networks.load_params(network, output)), jax.tree.leaves(loaded), strict=True
            ):
                self.assertEqual(leaf.shape, wanted.shape)
                self.assertTrue(bool(jnp.isfinite(leaf).all()))
        self.assertLess(accepted, 30)


if __name__ == "__main__":
    absltest.main()
