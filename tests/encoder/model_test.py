"""What of a model is a choice of its own: here the type that the network computes in."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

import cwcf_jax
from cwcf_jax import encoder, networks
from cwcf_jax.datasets import read_oxford
from cwcf_jax.encoder import passes
from cwcf_jax.images import read_image
from tests.support import shared


class DtypeTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        weights = shared.require("weights/squeezenet_v1.1.npz")
        self.full, self.half = (
            cwcf_jax.load("squeezenet1_1", weights, dtype=dtype) for dtype in ("float32", "bfloat16")
        )
        images = read_oxford(shared.require("data/oxford_dev"))
        self.images = np.stack([read_image(path)[:240, :240] for path in images.paths[:4]])

    def test_descriptors_are_close_and_not_the_same(self):
        expected, found = (np.asarray(cwcf_jax.encode(model, self.images)) for model in (self.full, self.half))
        self.assertEqual(found.dtype, np.float32)
        cosines = np.sum(expected * found, axis=1)
        self.assertGreater(cosines.min(), 0.999)
        self.assertLess(cosines.min(), 1 - 1e-7)
        self.assertLess(np.abs(expected @ expected.T - found @ found.T).max(), 0.005)

    def test_what_follows_the_maps_is_float32(self):
        maps = encoder.feature_maps(self.half, self.images)
        self.assertEqual({leaf.dtype for leaf in maps[:2]}, {jnp.dtype(jnp.float32)})
        for leaf in maps[:2]:  # made in bfloat16, and no bit more
            np.testing.assert_array_equal(leaf.astype(jnp.bfloat16).astype(jnp.float32), leaf)
        text = jax.jit(encoder.feature_maps).lower(self.half, self.images).as_text()
        self.assertNotRegex(text, r"stablehlo.convolution.*-> tensor<[0-9x]*f32>")
        pooled = encoder.pool(self.half, self.images, num_classes=8)
        self.assertEqual({leaf.dtype for leaf in pooled if leaf is not pooled.class_ids}, {jnp.dtype(jnp.float32)})
        sizes = jnp.full((len(self.images), 2), 240)
        expected = jax.vmap(lambda *one: passes.pool_maps(self.half, *one, None, None, num_classes=8))(maps, sizes)
        for found, wanted in zip(pooled, expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-5 * float(jnp.abs(wanted).max()))

    def test_parameters_stay_float32(self):
        self.assertEqual({leaf.dtype for leaf in jax.tree.leaves(self.half)}, {jnp.dtype(jnp.float32)})

    def test_other_processes_get_the_same_model(self):
        copy = pickle.loads(pickle.dumps(jax.device_get(self.half)))  # noqa: S301  (what it just wrote)
        self.assertEqual((copy.network.spec, copy.config), (self.half.network.spec, self.half.config))
        jax.tree.map(np.testing.assert_array_equal, copy.params, self.half.params)
        image = self.images[:1]
        np.testing.assert_array_equal(cwcf_jax.encode(copy, image), cwcf_jax.encode(self.half, image))

    def test_unknown(self):
        with self.assertRaisesRegex(ValueError, "unknown dtype 'float16'; known: float32, bfloat16"):
            encoder.load("googlenet", networks.get("googlenet").shapes(), dtype="float16")


if __name__ == "__main__":
    absltest.main()
