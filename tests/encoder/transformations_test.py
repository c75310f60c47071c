"""Tests of `encode` inside JAX transformations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest
from jax.sharding import Mesh, PartitionSpec

import cwcf_jax
from cwcf_jax.datasets import read_oxford
from cwcf_jax.images import read_image
from tests.support import shared
from tests.support.compilation import jit_fast
from tests.support.models import any_model


@functools.cache
def _images():
    paths = read_oxford(shared.require("data/oxford_dev")).paths[:8]
    return np.stack([read_image(path)[:128, :160] for path in paths])


@functools.cache
def _expected():
    return np.asarray(cwcf_jax.encode(any_model(), _images(), num_classes=8))


class TransformationsTest(absltest.TestCase):
    """Tests that `encode` computes the same descriptors, to 1e-5, inside each transformation."""

    def setUp(self):
        super().setUp()
        self.model, self.images = any_model(), _images()

    def _assert_same(self, actual):
        np.testing.assert_allclose(actual, _expected(), atol=1e-5)

    def test_jit(self):
        self._assert_same(jax.jit(lambda m, i: cwcf_jax.encode(m, i, num_classes=8))(self.model, self.images))

    def test_jit_with_everything_traced(self):
        arguments = {"class_ids": [97, 38], "sizes": [(100, 120)] * 8, "boxes": [(0.0, 0.0, 90.0, 80.0)] * 8}
        actual = jax.jit(lambda m, i, kw: cwcf_jax.encode(m, i, **kw))(self.model, self.images, arguments)
        np.testing.assert_allclose(actual, cwcf_jax.encode(self.model, self.images, **arguments), atol=1e-5)

    def test_float_images(self):
        self._assert_same(cwcf_jax.encode(self.model, self.images.astype(np.float32), num_classes=8))

    def test_vmap(self):
        encode_image = lambda image: cwcf_jax.encode(self.model, image[None], num_classes=8)[0]  # noqa: E731
        self._assert_same(jax.vmap(encode_image)(jnp.asarray(self.images)))

    def test_shard_map_over_8_devices(self):
        self.assertGreaterEqual(jax.device_count(), 8)
        mesh = Mesh(np.array(jax.devices()[:8]), ("batch",))
        encode = jax.shard_map(
            lambda m, i: cwcf_jax.encode(m, i, num_classes=8),
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec("batch")),
            out_specs=PartitionSpec("batch"),
        )
        self._assert_same(jax.jit(encode)(self.model, jnp.asarray(self.images)))

    def test_grad_with_respect_to_the_images(self):
        images = jnp.asarray(self.images[:1], jnp.float32)
        direction = jnp.asarray(np.random.default_rng(0).normal(size=self.model.feature_dim), jnp.float32)
        ids = jnp.arange(8)
        # Q_k counts cells (Eq. 2): its gradient is 0, but its steps would falsify a difference quotient.
        model = any_model(channel_weighting=False)

        def objective(images):
            descriptor = cwcf_jax.encode(model, images, class_ids=ids)
            return descriptor[0] @ direction, descriptor

        (value, descriptor), gradient = jit_fast(jax.value_and_grad(objective, has_aux=True))(images)
        plain = cwcf_jax.encode(model, images, class_ids=ids)
        np.testing.assert_allclose(descriptor, plain, atol=1e-5)
        self.assertTrue(bool(jnp.isfinite(gradient).all()))
        # A step along the gradient changes the objective by the product of step and gradient.
        step = gradient * (0.02 / jnp.abs(gradient).max())
        quotient = (objective(images + step)[0] - objective(images - step)[0]) / 2.0
        np.testing.assert_allclose(quotient, jnp.sum(gradient * step), rtol=0.05)
        self.assertNotEqual(float(value), 0.0)

    def test_model_is_a_pytree(self):
        doubled = jax.tree.map(lambda leaf: 2.0 * leaf, self.model)
        self.assertEqual(doubled.config, self.model.config)
        leaves = jax.tree.leaves(self.model)
        self.assertLen(leaves, len(jax.tree.leaves(self.model.params)))


if __name__ == "__main__":
    absltest.main()
