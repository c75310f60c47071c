"""A model spread over 8 devices of one process; for several processes see tests/distributed_test.py."""

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
        self.spread = encoder.replicate(self.model, Mesh(np.array(jax.devices()[:8]), ("batch",)))

    def test_the_same_descriptors_an_eighth_on_each(self):
        arguments = {"boxes": BOXES, "class_ids": [3, 1]}
        found = cwcf_jax.encode(self.spread, _images(), **arguments)
        np.testing.assert_allclose(found, cwcf_jax.encode(self.model, _images(), **arguments), atol=1e-6)
        self.assertEqual({shard.data.shape[0] for shard in found.addressable_shards}, {1})
        self.assertLen(found.sharding.device_set, 8)

    def test_nothing_travels_between_devices(self):
        found = cwcf_jax.encode(self.spread, _images())
        images = jax.device_put(_images(), found.sharding)
        compiled = jax.jit(cwcf_jax.encode).lower(self.spread, images).compile()
        self.assertEmpty(COLLECTIVES.findall(compiled.as_text()))

        few = cwcf_jax.encode(self.spread, _images()[:3])  # cannot be shared out evenly
        np.testing.assert_allclose(few, found[:3], atol=1e-6)
        self.assertTrue(few.is_fully_replicated)

    @slow
    def test_nor_by_what_gpus_compute(self):
        model = cwcf_jax.load(self.model.network, self.model.params, dtype="bfloat16")
        spread = encoder.replicate(model, Mesh(np.array(jax.devices()[:8]), ("batch",)))
        expected = cwcf_jax.encode(model, _images(), num_classes=256)
        images = jax.device_put(_images(), cwcf_jax.encode(spread, _images()).sharding)
        with on_gpus.chosen() as taken:
            encode = jax.jit(functools.partial(cwcf_jax.encode, num_classes=256))
            compiled = encode.lower(spread, images).compile()
        self.assertEmpty(COLLECTIVES.findall(compiled.as_text()))
        self.assertIn(layers.write_zero_margin, taken)
        self.assertIn(arrays.einsum_bf16x3, [getattr(one, "func", one) for one in taken])
        np.testing.assert_allclose(compiled(spread, images), expected, atol=1e-3)

    def test_on_a_cpu_only_when_told(self):
        self.assertIs(encoder.replicate(self.model), self.model)

    def test_other_axes_are_refused(self):
        with self.assertRaisesRegex(ValueError, r"one axis, 'batch', not \('x', 'y'\)"):
            encoder.replicate(self.model, Mesh(np.array(jax.devices()[:4]).reshape(2, 2), ("x", "y")))


if __name__ == "__main__":
    absltest.main()
