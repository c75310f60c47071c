"""Tests of a model on 8 devices of one process; tests/distributed_test.py tests several processes."""

import functools
import re

import jax
import numpy as np
from absl.testing import absltest
from jax.sharding import Mesh

import cwcf_jax
from cwcf_jax import arrays, encoder
from cwcf_jax.networks import layers
from tests.support import on_gpus
from tests.support.models import any_model
from tests.support.slow import slow

COLLECTIVES = re.compile("all-gather|all-reduce|all-to-all|collective-permute")
BOXES = [(10.0 * i, 0.0, 60.0 + 5 * i, 70.0) for i in range(8)]


def _images():
    return np.random.default_rng(0).integers(0, 256, (8, 96, 120, 3), np.uint8)


class DevicesTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.model = any_model()
        self.replicated = encoder.replicate(self.model, Mesh(np.array(jax.devices()[:8]), ("batch",)))

    def test_each_device_computes_an_eighth_of_the_descriptors(self):
        arguments = {"boxes": BOXES, "class_ids": [3, 1]}
        actual = cwcf_jax.encode(self.replicated, _images(), **arguments)
        np.testing.assert_allclose(actual, cwcf_jax.encode(self.model, _images(), **arguments), atol=1e-6)
        self.assertEqual({shard.data.shape[0] for shard in actual.addressable_shards}, {1})
        self.assertLen(actual.sharding.device_set, 8)

    def test_devices_exchange_no_data(self):
        descriptors = cwcf_jax.encode(self.replicated, _images())
        images = jax.device_put(_images(), descriptors.sharding)
        compiled = jax.jit(cwcf_jax.encode).lower(self.replicated, images).compile()
        self.assertEmpty(COLLECTIVES.findall(compiled.as_text()))

        three = cwcf_jax.encode(self.replicated, _images()[:3])  # 8 devices cannot divide 3 images evenly
        np.testing.assert_allclose(three, descriptors[:3], atol=1e-6)
        self.assertTrue(three.is_fully_replicated)

    @slow
    def test_devices_exchange_no_data_in_the_functions_for_gpus(self):
        model = cwcf_jax.load(self.model.network, self.model.params, dtype="bfloat16")
        replicated = encoder.replicate(model, Mesh(np.array(jax.devices()[:8]), ("batch",)))
        expected = cwcf_jax.encode(model, _images(), num_classes=256)
        images = jax.device_put(_images(), cwcf_jax.encode(replicated, _images()).sharding)
        with on_gpus.gpu_branches() as gpu_functions:
            encode = jax.jit(functools.partial(cwcf_jax.encode, num_classes=256))
            compiled = encode.lower(replicated, images).compile()
        self.assertEmpty(COLLECTIVES.findall(compiled.as_text()))
        self.assertIn(layers.write_zero_margin, gpu_functions)
        self.assertIn(arrays.einsum_bf16x3, [getattr(function, "func", function) for function in gpu_functions])
        np.testing.assert_allclose(compiled(replicated, images), expected, atol=1e-3)

    def test_a_cpu_needs_a_mesh(self):
        self.assertIs(encoder.replicate(self.model), self.model)

    def test_other_axes_are_refused(self):
        with self.assertRaisesRegex(ValueError, r"one axis, 'batch', not \('x', 'y'\)"):
            encoder.replicate(self.model, Mesh(np.array(jax.devices()[:4]).reshape(2, 2), ("x", "y")))


if __name__ == "__main__":
    absltest.main()
