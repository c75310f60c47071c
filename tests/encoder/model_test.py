"""Tests of models: the encoder config, its dtype among it, loading and ``repr``."""

import os
import pathlib
import pickle
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import cwcf_jax
from cwcf_jax import encoder, networks
from cwcf_jax.datasets import read_oxford
from cwcf_jax.encoder import passes
from cwcf_jax.images import read_image
from tests.support import shared
from tests.support.models import any_model
from tests.training import tiny
from tests.weights import packaged


class DtypeTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.full, self.half = (any_model(dtype=dtype) for dtype in ("float32", "bfloat16"))
        images = read_oxford(shared.require("data/oxford_dev"))
        self.images = np.stack([read_image(path)[:240, :240] for path in images.paths[:4]])

    def test_descriptors_are_close_and_not_the_same(self):
        expected, actual = (np.asarray(cwcf_jax.encode(model, self.images)) for model in (self.full, self.half))
        self.assertEqual(actual.dtype, np.float32)
        cosines = np.sum(expected * actual, axis=1)
        self.assertGreater(cosines.min(), 0.999)
        self.assertLess(cosines.min(), 1 - 1e-7)
        self.assertLess(np.abs(expected @ expected.T - actual @ actual.T).max(), 0.005)

    def test_steps_after_the_maps_are_float32(self):
        maps = encoder.feature_maps(self.half, self.images)
        self.assertEqual({leaf.dtype for leaf in maps[:2]}, {jnp.dtype(jnp.float32)})
        for leaf in maps[:2]:  # the values are bfloat16 numbers
            np.testing.assert_array_equal(leaf.astype(jnp.bfloat16).astype(jnp.float32), leaf)
        text = jax.jit(encoder.feature_maps).lower(self.half, self.images).as_text()
        self.assertNotRegex(text, r"stablehlo.convolution.*-> tensor<[0-9x]*f32>")
        pooled = encoder.pool(self.half, self.images, num_classes=8)
        self.assertEqual({leaf.dtype for leaf in pooled if leaf is not pooled.class_ids}, {jnp.dtype(jnp.float32)})
        sizes = jnp.full((len(self.images), 2), 240)
        pool_image = lambda *image: passes.pool_maps(self.half, *image, None, None, num_classes=8)  # noqa: E731
        all_expected = jax.vmap(pool_image)(maps, sizes)
        for actual, expected in zip(pooled, all_expected, strict=True):
            np.testing.assert_allclose(actual, expected, atol=1e-5 * float(jnp.abs(expected).max()))

    def test_parameters_stay_float32(self):
        self.assertEqual({leaf.dtype for leaf in jax.tree.leaves(self.half)}, {jnp.dtype(jnp.float32)})

    def test_a_pickled_model_is_the_same(self):
        copy = pickle.loads(pickle.dumps(jax.device_get(self.half)))  # noqa: S301  (the test pickled it)
        self.assertEqual((copy.network.spec, copy.config), (self.half.network.spec, self.half.config))
        jax.tree.map(np.testing.assert_array_equal, copy.params, self.half.params)
        image = self.images[:1]
        np.testing.assert_array_equal(cwcf_jax.encode(copy, image), cwcf_jax.encode(self.half, image))

    def test_unknown_dtype(self):
        with self.assertRaisesRegex(ValueError, "unknown dtype 'float16'; known: float32, bfloat16"):
            encoder.load("googlenet", networks.get("googlenet").shapes(), dtype="float16")


class PoolingTest(parameterized.TestCase):
    @parameterized.parameters(
        ({}, True),
        ({"channel_weighting": True}, True),
        ({"channel_weighting": False}, False),
        ({"pooling": "gem"}, False),
        ({"pooling": "gem", "channel_weighting": False, "gem_p": 1.0}, False),
        ({"pooling": "gem", "cam_normalization": "max_clip"}, False),
    )
    def test_which_configs_weight_channels(self, fields, expected):
        self.assertEqual(encoder.EncoderConfig(**fields).weights_channels, expected)

    @parameterized.parameters(
        ({"pooling": "mean"}, "unknown pooling 'mean'; known: sum, gem"),
        (
            {"pooling": "gem", "channel_weighting": True},
            "power means carry no channel weights; leave channel_weighting",
        ),
        ({"pooling": "gem", "cam_normalization": "raw"}, "negative values of raw maps cannot weight a power mean"),
        ({"pooling": "gem", "gem_p": 0.5}, "gem_p must be at least 1 and finite, not 0.5"),
        ({"pooling": "gem", "gem_p": float("nan")}, "at least 1 and finite, not nan"),
        ({"pooling": "gem", "gem_p": float("inf")}, "at least 1 and finite, not inf"),
        ({"gem_p": 2.0}, "gem_p=2.0 has no effect with pooling='sum'"),
    )
    def test_invalid_options(self, fields, message):
        with self.assertRaisesRegex(ValueError, message):
            encoder.EncoderConfig(**fields)

    def test_the_default_is_the_networks_pooling(self):
        network = tiny.network().with_spec(pooling="gem")
        params = network.initialize(0)

        def pooling(*config, **fields):
            return cwcf_jax.load(network, params, *config, **fields).config.pooling

        self.assertEqual(pooling(), "gem")
        self.assertEqual(pooling(gem_p=2.0, drop_negative=False), "gem")
        self.assertEqual(pooling(pooling="sum", channel_weighting=True), "sum")
        self.assertEqual(pooling(encoder.EncoderConfig()), "sum")
        with self.assertRaisesRegex(ValueError, "cannot weight a power mean; .*, or set pooling='sum'"):
            pooling(cam_normalization="raw")
        defaults = {name: spec.pooling for name, spec in ((n, networks.get(n).spec) for n in networks.NETWORKS)}
        lite = {name for name in networks.NETWORKS if name.startswith("efficientnet_lite")}
        self.assertEqual({name for name, pooling in defaults.items() if pooling == "gem"}, lite)

    def test_options_override_a_config(self):
        network = tiny.network()
        config = cwcf_jax.load(network, network.initialize(0), encoder.EncoderConfig(), pooling="gem").config
        self.assertEqual((config.pooling, config.gem_p, config.weights_channels), ("gem", 3.0, False))


class LoadTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.network = tiny.network()
        self.params = self.network.initialize(0)

    def test_fields_override_the_config(self):
        config = encoder.EncoderConfig(feature_layer="conv1_1", drop_negative=False)
        self.assertEqual(cwcf_jax.load(self.network, self.params, config).config, config)
        actual = cwcf_jax.load(self.network, self.params, config, feature_layer="conv2_1", dtype="bfloat16")
        expected = encoder.EncoderConfig(feature_layer="conv2_1", drop_negative=False, dtype="bfloat16")
        self.assertEqual(actual.config, expected)

    def test_the_default_layer_is_filled_in(self):
        for options in ({}, {"feature_layer": None}, {"config": encoder.EncoderConfig()}):
            self.assertEqual(cwcf_jax.load(self.network, self.params, **options).config.feature_layer, "conv2_1")
        self.assertEqual(
            cwcf_jax.Model(self.params, self.network, encoder.EncoderConfig()).feature_layer.name, "conv2_1"
        )

    def test_unknown_field(self):
        with self.assertRaisesRegex(TypeError, "no field layer; it has feature_layer, cam_normalization, .*, dtype"):
            cwcf_jax.load(self.network, self.params, layer="conv1_1")

    def test_weights_from_the_cache(self):
        cache_home = pathlib.Path(self.create_tempdir().full_path)
        self.enterContext(mock.patch.dict(os.environ, XDG_CACHE_HOME=str(cache_home)))
        folder = cache_home / "cwcf" / "weights"
        with self.assertRaisesRegex(FileNotFoundError, f"no weights of tiny_cam are in {folder}"):
            cwcf_jax.load(self.network)
        packaged.save_checkpoint(folder / "tiny.npz")
        model = cwcf_jax.load(self.network, dtype="bfloat16")
        jax.tree.map(np.testing.assert_array_equal, model.params, self.params)
        self.assertEqual(model.config.dtype, "bfloat16")
        self.assertEqual(model.network.spec.class_names, self.network.spec.class_names)
        extractor = encoder.load_extractor(self.network, layer="conv1_1")
        jax.tree.map(np.testing.assert_array_equal, extractor.params, self.params)

    def test_repr_is_short(self):
        count = sum(leaf.size for leaf in jax.tree.leaves(self.params))
        model = cwcf_jax.load(self.network, self.params, feature_layer="conv1_1", dtype="bfloat16")
        self.assertEqual(repr(model), f"Model(tiny_cam, conv1_1, bfloat16, {count:,} parameters)")
        extractor = encoder.Extractor(self.params, self.network, "conv1_1")
        self.assertEqual(repr(extractor), f"Extractor(tiny_cam, conv1_1, {count:,} parameters)")
        for model_tree in (jax.eval_shape(lambda: model), jax.tree.map(lambda _: None, model)):
            self.assertIn("Model(tiny_cam, conv1_1, bfloat16", repr(model_tree))


if __name__ == "__main__":
    absltest.main()
