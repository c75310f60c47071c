import dataclasses
import pathlib

import jax
import numpy as np
from absl.testing import absltest, parameterized

import cwcf_jax
from cwcf_jax import encoder, networks
from cwcf_jax.weights import whitenings
from tests.support import shared
from tests.support import whitenings as support
from tests.training import tiny


class ShippedWhiteningTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        network = tiny.network()
        self.model = cwcf_jax.load(network, network.initialize(0), pooling="gem")
        self.fitted = support.ship(self, self.model)

    def test_whitening_of_the_models_network(self):
        whitening = cwcf_jax.shipped_whitening(self.model)
        for name in ("mean", "eigenvalues"):
            np.testing.assert_array_equal(getattr(whitening, name), getattr(self.fitted, name))
        np.testing.assert_allclose(whitening.projection, self.fitted.projection, rtol=1e-3, atol=1e-7)
        self.assertEqual(whitening.fitted_on, "7 pictures of noise, 3 pictures of more noise")
        images = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), dtype=np.uint8)
        descriptors = cwcf_jax.encode(self.model, images, num_classes=2, whitening=whitening)
        self.assertEqual(descriptors.shape, (2, whitening.dim))

    def test_fewer_dimensions_are_those_of_largest_variance(self):
        actual, complete = cwcf_jax.shipped_whitening(self.model, dim=3), cwcf_jax.shipped_whitening(self.model)
        np.testing.assert_array_equal(actual.projection, complete.projection[:, :3])
        np.testing.assert_array_equal(actual.eigenvalues, complete.eigenvalues[:3])
        self.assertEqual(cwcf_jax.shipped_whitening(self.model, dim=10**6).dim, complete.dim)
        with self.assertRaisesRegex(ValueError, "keeps at least 1 dimension, not 0"):
            cwcf_jax.shipped_whitening(self.model, dim=0)

    def test_settings_without_effect_on_class_vectors_are_accepted(self):
        for change in (dict(region_cells="floor"), dict(repeat_dropped=True), dict(dtype="bfloat16")):
            model = dataclasses.replace(self.model, config=dataclasses.replace(self.model.config, **change))
            self.assertEqual(cwcf_jax.shipped_whitening(model).dim, self.fitted.dim)

    @parameterized.parameters(
        (dict(pooling="sum"), r"for pooling='gem' \(here 'sum'\), channel_weighting=False \(here True\); load"),
        (dict(gem_p=4.0), r"for gem_p=3.0 \(here 4.0\)"),
        (dict(cam_normalization="max_clip"), "for cam_normalization='min_max'"),
        (dict(drop_negative=False), "for drop_negative=True"),
        (dict(pixel_mean=(1.0, 2.0, 3.0)), r"for pixel_mean=None \(here \[1.0, 2.0, 3.0\]\)"),
    )
    def test_other_class_vectors_are_refused(self, change, message):
        model = dataclasses.replace(self.model, config=dataclasses.replace(self.model.config, **change))
        with self.assertRaisesRegex(encoder.NoWhiteningError, f"{message}.* or fit one"):
            cwcf_jax.shipped_whitening(model)

    def test_other_parameters_are_refused(self):
        leaves, tree = jax.tree.flatten(self.model.params)
        changed = [leaves[0].at[(0,) * leaves[0].ndim].add(1e-3), *leaves[1:]]
        model = dataclasses.replace(self.model, params=jax.tree.unflatten(tree, changed))
        with self.assertRaisesRegex(encoder.NoWhiteningError, "for other weights than the model's: .* abababababab"):
            cwcf_jax.shipped_whitening(model)

    def test_another_network_is_refused(self):
        model = dataclasses.replace(self.model, network=networks.get("squeezenet1_1"))
        with self.assertRaisesRegex(encoder.NoWhiteningError, "for squeezenet1_1, only for tiny_cam; fit one"):
            cwcf_jax.shipped_whitening(model)


class ReleaseTest(parameterized.TestCase):
    """The whitenings that ship with the library are for the published weights."""

    @parameterized.parameters(*((name,) for name in whitenings.shipped()))
    def test_whitening_is_for_the_published_weights(self, name):
        weights = shared.require("weights/googlenet_bvlc.npz") if name == "googlenet" else None
        model = cwcf_jax.load(name, weights, pooling="gem")
        self.assertEqual(cwcf_jax.shipped_whitening(model).dim, model.feature_dim)

    def test_a_lite_network_needs_no_options(self):
        model = cwcf_jax.load("efficientnet_lite2")
        self.assertEqual(model.config.pooling, "gem")
        self.assertEqual(cwcf_jax.shipped_whitening(model).dim, 720)
        with self.assertRaisesRegex(ValueError, r"for feature_layer='expansion16' \(here 'head'\)"):
            cwcf_jax.shipped_whitening(cwcf_jax.load("efficientnet_lite2", feature_layer="head"))

    def test_the_fingerprint_does_not_depend_on_the_kind_of_file(self):
        network = tiny.network()
        params = network.initialize(0)
        folder = pathlib.Path(self.create_tempdir().full_path)
        for path in (folder / "weights.npz", folder / "checkpoint"):
            networks.save_params(params, path)
            loaded = networks.load_params(network, path)
            self.assertEqual(networks.fingerprint_params(loaded), networks.fingerprint_params(params))
        self.assertNotEqual(networks.fingerprint_params(network.initialize(1)), networks.fingerprint_params(params))


if __name__ == "__main__":
    absltest.main()
