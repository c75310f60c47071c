"""This module compares converted weights of every format and network, layer by layer, with `torch_oracles`."""

import dataclasses
import functools
import hashlib
import os
import subprocess
import sys
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import cwcf_jax
from cwcf_jax import encoder, networks
from cwcf_jax.networks import CheckpointError
from cwcf_jax.weights import catalogue, convert
from tests.networks import torch_oracles
from tests.support import shared
from tests.support.compilation import jit_fast
from tests.support.slow import slow
from tests.weights import foreign
from tests.weights.formats import writers

QUICK = (
    ("keras_vgg16_cam", "h5_keras1_session"),
    ("caffe_googlenet_cam", "npz_caffe"),
    ("torch_resnet50", "safetensors"),
)
TOLERANCE = 1e-5  # relative to the largest value of a layer


@functools.cache
def _apply(network):
    return jit_fast(network.apply)


def _is_quick(case):
    """Returns whether a case is of the smallest network, or of a format that only its network uses."""
    return case[2] == "squeezenet1_1" or case[:2] in QUICK


class LayersTest(foreign.ConvertCase):
    """`LayersTest` writes a file with its own tool, converts it to an Orbax checkpoint, and loads the checkpoint."""

    def check_maps(self, network, params, name, *, trunk=False):
        _, inputs, logits, maps = foreign.reference(name)
        sizes = jnp.array([inputs.shape[1:3]], jnp.int32)
        actual_logits, actual = _apply(network)(params, inputs, sizes)
        if trunk:
            maps = {layer: maps[layer] for layer in actual if layer not in network.spec.head}
        else:
            self.assertEqual(actual.keys(), maps.keys())
            actual, maps = actual | {"logits": actual_logits}, maps | {"logits": logits}
        for layer, expected in maps.items():
            self.assertEqual(actual[layer].shape, expected.shape)
            error = np.abs(np.asarray(actual[layer], np.float64) - expected).max() / np.abs(expected).max()
            self.assertLess(error, TOLERANCE, layer)

    @parameterized.named_parameters(*((f"{case[0]}_{case[1]}", *case) for case in foreign.WHOLE if _is_quick(case)))
    def test_every_layer(self, *case):
        self.check_file(*case)

    @parameterized.named_parameters(*((f"{case[0]}_{case[1]}", *case) for case in foreign.WHOLE if not _is_quick(case)))
    @slow
    def test_every_layer_of_other_cases(self, *case):
        self.check_file(*case)

    def check_file(self, name, writer, network, layout, preprocessing):
        file = self.write_weights(name, writer)
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

    def test_every_layer_of_a_trunk(self):
        self.check_trunk(*foreign.TRUNKS[-1])

    @parameterized.named_parameters(*((f"{case[0]}_{case[1]}", *case) for case in foreign.TRUNKS[:-1]))
    @slow
    def test_every_layer_of_other_trunks(self, *case):
        self.check_trunk(*case)

    def check_trunk(self, name, writer, layout):
        network = networks.get("vgg16_cam")
        record = convert.convert(
            self.write_weights(name, writer), network, self.output, trunk=True, licence="CC BY 4.0"
        )
        self.assertEqual((record.layout, record.complete, record.licence), (layout, False, "CC BY 4.0"))
        params = networks.load_params(network, self.output, trunk=True)
        self.assertEqual(set(params), set(torch_oracles.CAFFE))
        head = {layer: network.shapes()[layer] for layer in network.spec.head}
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), head)
        self.check_maps(network, params | zeros, name, trunk=True)
        with self.assertRaisesRegex(
            CheckpointError, "cwcf_jax.training trains a head on them, with TrainingConfig.*trunk="
        ):
            cwcf_jax.load("vgg16_cam", self.output)

    @slow
    def test_plain_vgg16(self):
        """Tests one format only, for 138 million parameters; `tests.networks.vgg_test` tests dense layers of others."""
        weights = torch_oracles.Weights(3)
        dense = ("classifier.0", "classifier.3", "classifier.6")
        network = functools.partial(torch_oracles.vgg16, names=torch_oracles.TORCHVISION, dense=dense)
        nonzero = np.random.default_rng(0).normal(size=(64, 25088), scale=0.01).astype(np.float32)
        # Most weights of the first dense layer are zero, which saves seconds.
        weights.layers[dense[0]] = {"weight": np.concatenate([nonzero, np.zeros((4032, 25088), np.float32)])}
        inputs = np.random.default_rng(0).normal(size=(1, 35, 50, 3)).astype(np.float32)
        logits, maps = torch_oracles.forward(network, weights, inputs)
        file, output = self.folder / "vgg16.safetensors", self.folder / "vgg16.npz"
        writers.write_safetensors(file, weights.as_state())
        vgg16 = networks.get("vgg16")
        record = convert.convert(file, vgg16, output)
        self.assertEqual((record.layout, record.complete), ("torchvision", True))
        params = networks.load_params(vgg16, output)
        actual_logits, actual = _apply(vgg16)(params, inputs, jnp.array([[35, 50]], jnp.int32))
        for layer, expected in (maps | {"logits": logits}).items():
            error = np.abs(np.asarray((actual | {"logits": actual_logits})[layer]) - expected).max()
            self.assertLess(error / np.abs(expected).max(), TOLERANCE, layer)
        with self.assertRaisesRegex(ValueError, "no class activation maps.*cwcf_jax.training.*'vgg16_cam', trunk=FILE"):
            cwcf_jax.load("vgg16", output)

    @parameterized.parameters("npz", "safetensors", "pth")
    def test_names_of_this_library(self, suffix):
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
    def test_pixels_are_preprocessed_as_recorded(self, name, writer):
        weights, inputs, *_ = foreign.reference(name)
        image = np.random.default_rng(5).integers(0, 256, inputs.shape[1:]).astype(np.uint8)
        if writer == "caffemodel":
            pixels = image[..., ::-1] - np.array([104.0, 117.0, 123.0])
        else:
            pixels = (image / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
        expected, _ = torch_oracles.forward(foreign.FOREIGN[name][0], weights, pixels[None])
        convert.convert(self.write_weights(name, writer), networks.get("squeezenet1_1"), self.output)
        model = cwcf_jax.load("squeezenet1_1", self.output)
        actual = encoder.pool(model, image[None], num_classes=1).logits
        np.testing.assert_allclose(actual, expected, atol=TOLERANCE * np.abs(expected).max())


class ReleasedTest(foreign.ConvertCase):
    def test_keras_and_caffe_release_the_same_squeezenet(self):
        network = networks.get("squeezenet1_1")
        file = shared.require("weights/squeezenet_v1.1_keras_notop.h5")
        record = convert.convert(file, network, self.output, trunk=True)
        self.assertEqual((record.layout, record.complete), ("keras", False))
        output = self.folder / "released.npz"
        convert.convert(shared.require("weights/squeezenet_v1.1.npz"), network, output)
        whole = networks.load_params(network, output)
        trunk = networks.load_params(network, self.output, trunk=True)
        self.assertEqual(whole.keys() - trunk.keys(), {"conv10"})
        jax.tree.map(np.testing.assert_array_equal, trunk, {layer: whole[layer] for layer in trunk})
        inputs = np.random.default_rng(0).normal(size=(1, 75, 101, 3), scale=60.0).astype(np.float32)
        sizes = jnp.array([[75, 101]], jnp.int32)
        zeros = jax.tree.map(jnp.zeros_like, whole)
        _, expected = _apply(network)(whole, inputs, sizes)
        _, actual = _apply(network)(zeros | trunk, inputs, sizes)
        np.testing.assert_array_equal(actual["fire9"], expected["fire9"])
        self.assertGreater(float(expected["fire9"].max()), 1.0)

    def test_a_file_without_top_layers_is_not_complete(self):
        file = shared.require("weights/squeezenet_v1.1_keras_notop.h5")
        message = self.assert_refused(CheckpointError, file, networks.get("squeezenet1_1"), self.output)
        self.assertIn("missing conv10/kernel, for conv10/kernel", message)
        self.assertIn("--trunk converts only these", message)

    def test_a_file_of_the_catalogue(self):
        file = self.write_weights("caffe_squeezenet1_1", "caffemodel")
        digest = hashlib.sha1(file.read_bytes()).hexdigest()  # noqa: S324 - as upstream publishes it
        entry = dataclasses.replace(
            catalogue.read_catalogue()["googlenet_bvlc"],
            hash=catalogue.Hash("sha1", digest),
            licence="BSD",
            paper="Iandola",
        )
        with mock.patch.object(
            catalogue,
            "read_catalogue",
            return_value={"other": catalogue.read_catalogue()["vgg16_caffe"], "some": entry},
        ):
            record = convert.convert(file, networks.get("squeezenet1_1"), self.output)
        self.assertEqual((record.source, record.licence, record.notes["paper"]), (entry.url, "BSD", "Iandola"))


class CommandTest(foreign.ConvertCase):
    def start(self, *arguments):
        command = [sys.executable, "-m", "cwcf_jax.weights", "convert", *arguments]
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=shared.ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)

    def test_success_and_failure(self):
        file = self.write_weights("torch_squeezenet1_1", "pth")
        success = self.start(str(file), f"--output={self.output}", "--network=squeezenet1_1")
        failure = self.start(str(file), f"--output={self.folder / 'other'}", "--network=googlenet")
        output, errors = success.communicate(timeout=300)
        self.assertEqual(success.returncode, 0, errors)
        self.assertEqual(output, f"{self.output}: squeezenet1_1; torchvision layout\n")
        self.assertIsNotNone(networks.read_provenance(self.output))
        output, errors = failure.communicate(timeout=300)
        self.assertEqual((failure.returncode, output), (1, ""))
        self.assertStartsWith(errors, f"cwcf weights: {file} does not hold googlenet:\n  ")
        self.assertEndsWith(errors, "The file fits --network=squeezenet1_1\n")
        self.assertNotIn("Traceback", errors)
        self.assertFalse((self.folder / "other").exists())


if __name__ == "__main__":
    absltest.main()
