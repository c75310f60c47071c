"""Tests of `explain`: the terms of a score, on a photograph and on a tiny network."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import cwcf_jax
from cwcf_jax import encoder
from cwcf_jax.datasets import read_oxford
from cwcf_jax.images import read_image
from cwcf_jax.search import class_pairs
from tests.support import oracles, shared
from tests.support.models import any_model
from tests.training import tiny

IDS = np.array([97, 38, 84, 3])


class ExplainTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        images = read_oxford(shared.require("data/oxford_dev"))
        self.image = read_image(images.paths[0])[None, :200, :260]
        direction = np.random.default_rng(0).normal(size=any_model().feature_dim)
        self.query = jnp.asarray(direction / np.linalg.norm(direction), jnp.float32)
        self.whitening = cwcf_jax.fit_pca_whitening(np.random.default_rng(1).random((600, len(direction))))

    def explain(self, model, whitening):
        maps = jax.tree.map(lambda leaf: leaf[0], encoder.feature_maps(model, self.image))
        return encoder.explain(model, maps, jnp.asarray(IDS), whitening, self.query)

    @parameterized.product(whitened=(True, False), weighted=(True, False))
    def test_terms_sum_to_the_score(self, whitened, weighted):
        model, whitening = any_model(channel_weighting=weighted), self.whitening if whitened else None
        actual = self.explain(model, whitening)
        score = cwcf_jax.encode(model, self.image, class_ids=IDS, whitening=whitening)[0] @ self.query
        self.assertAlmostEqual(float(actual.cells.sum() + actual.constant.sum()), float(score), delta=1e-5)
        self.assertEqual(bool(jnp.any(actual.constant != 0)), whitened)

    @parameterized.parameters(True, False)
    def test_terms_of_a_region_sum_to_its_score(self, whitened):
        model, whitening = any_model(), self.whitening if whitened else None
        maps = encoder.feature_maps(model, self.image)
        cells = jnp.array([2, 1, 9, 8])
        image_maps = jax.tree.map(lambda leaf: leaf[0], maps)
        actual = encoder.explain(model, image_maps, jnp.asarray(IDS), whitening, self.query, cells)
        descriptor = encoder.describe_regions(model, maps, jnp.asarray(IDS), cells[None, None], whitening)[0, 0]
        self.assertAlmostEqual(
            float(actual.cells.sum() + actual.constant.sum()), float(descriptor @ self.query), delta=1e-5
        )
        outside = np.asarray(actual.cells).copy()
        outside[:, 1:8, 2:9] = 0
        self.assertEqual(np.abs(outside).sum(), 0.0)
        vectors = encoder.region_vectors(model, image_maps, jnp.asarray(IDS), cells, whitening)
        shares = class_pairs(self.query[None, :], vectors)[0]
        np.testing.assert_allclose(actual.cells.sum(axis=(1, 2)) + actual.constant, shares, atol=1e-5)

    def test_terms_of_a_class_sum_to_the_share_of_the_class(self):
        actual = self.explain(any_model(), self.whitening)
        vectors = encoder.embed_classes(any_model(), self.image, whitening=self.whitening).vectors[0, IDS]
        query = self.query[None, :]
        expected = class_pairs(query, vectors)[0]
        np.testing.assert_allclose(actual.cells.sum(axis=(1, 2)) + actual.constant, expected, atol=1e-5)

    def test_the_term_of_a_cell_is_cam_times_features(self):
        """By Eq. 4, without whitening and channel weights."""
        model = any_model(channel_weighting=False)
        maps = jax.tree.map(lambda leaf: leaf[0], encoder.feature_maps(model, self.image))
        cams = np.asarray(encoder.class_maps(model, maps, jnp.asarray(IDS)), np.float64)
        features = np.asarray(maps.features, np.float64)
        height, width = np.asarray(maps.feature_size)
        vectors = np.einsum("hwn,hwk->nk", cams[:height, :width], features[:height, :width])
        norms = np.linalg.norm(vectors, axis=1)
        norms[norms == 0] = 1.0  # the vector of a class without evidence is 0
        total = np.linalg.norm((vectors / norms[:, None]).sum(axis=0))
        expected = np.einsum("hwn,hwk,k->nhw", cams, features, np.asarray(self.query, np.float64))
        expected /= (norms * total)[:, None, None]
        actual = np.asarray(self.explain(model, None).cells)
        np.testing.assert_allclose(actual[:, :height, :width], expected[:, :height, :width], atol=1e-6)
        self.assertEqual(np.abs(actual[:, height:]).sum() + np.abs(actual[:, :, width:]).sum(), 0.0)


class PowerMeansTest(parameterized.TestCase):
    """Tests of ``pooling="gem"`` with a tiny network."""

    def setUp(self):
        super().setUp()
        network = tiny.network(num_labels=10)
        self.model = cwcf_jax.load(network, network.initialize(0), pooling="gem", feature_layer="conv1_1")
        image = np.random.default_rng(1).integers(0, 256, (1, 53, 70, 3)).astype(np.uint8)
        self.maps = encoder.feature_maps(self.model, image)
        self.ids = jnp.array([4, 9, 0])
        direction = np.random.default_rng(0).normal(size=4)
        self.query = jnp.asarray(direction / np.linalg.norm(direction), jnp.float32)
        self.whitening = cwcf_jax.fit_pca_whitening(np.random.default_rng(1).random((60, 4)))

    @parameterized.parameters((True, None), (False, (2, 1, 39, 48)), (True, (2, 1, 39, 48)))
    def test_terms_sum_to_the_score(self, whitened, cells):
        whitening = self.whitening if whitened else None
        box = jnp.array([0, 0, 70, 53] if cells is None else cells)
        image_maps = jax.tree.map(lambda leaf: leaf[0], self.maps)
        cells_argument = None if cells is None else box
        actual = encoder.explain(self.model, image_maps, self.ids, whitening, self.query, cells_argument)
        score = encoder.describe_regions(self.model, self.maps, self.ids, box[None, None], whitening)[0, 0] @ self.query
        self.assertAlmostEqual(float(actual.cells.sum() + actual.constant.sum()), float(score), delta=1e-5)
        vectors = encoder.region_vectors(self.model, image_maps, self.ids, box, whitening)
        shares = class_pairs(self.query[None, :], vectors)[0]
        np.testing.assert_allclose(actual.cells.sum(axis=(1, 2)) + actual.constant, shares, atol=1e-5)
        outside = np.array(actual.cells)
        outside[:, box[1] : box[3], box[0] : box[2]] = 0
        self.assertEqual(np.abs(outside).sum(), 0.0)

    def test_the_term_of_a_cell_is_its_share_in_the_sum_of_powers(self):
        image_maps = jax.tree.map(lambda leaf: leaf[0], self.maps)
        features = np.asarray(image_maps.features, np.float64)[:53, :70]
        cams = np.asarray(encoder.class_maps(self.model, image_maps, self.ids), np.float64)[:53, :70]
        vectors = np.stack([oracles.class_power_mean(features, cam) for cam in np.moveaxis(cams, -1, 0)])
        shares = np.einsum("hwn,hwk->nhwk", cams, features**3)
        sums = shares.sum(axis=(1, 2), keepdims=True)
        shares = np.divide(shares, sums, out=np.zeros_like(shares), where=sums > 0)
        norms = np.linalg.norm(vectors, axis=1)
        scale = 1 / (norms * np.linalg.norm((vectors / norms[:, None]).sum(axis=0)))
        expected = np.einsum("nhwk,nk,k,n->nhw", shares, vectors, np.asarray(self.query, np.float64), scale)
        actual = encoder.explain(self.model, image_maps, self.ids, None, self.query)
        np.testing.assert_allclose(actual.cells[:, :53, :70], expected, atol=1e-6)


if __name__ == "__main__":
    absltest.main()
