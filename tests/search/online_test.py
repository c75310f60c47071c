"""These tests compare online aggregation over a store with online aggregation from the images."""

import functools
import pathlib
from unittest import mock

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

import cwcf_jax
from cwcf_jax import encoder
from cwcf_jax.arrays import quantize
from cwcf_jax.images import ImageSet, read_folder, read_image
from cwcf_jax.search import online, online_scores
from cwcf_jax.search.online import OnlineSearch
from cwcf_jax.store import ClassVectorStore, ClassVectorWriter, StoreConfig
from tests.support import shared
from tests.support.models import any_model

DIM = 24


class PhotographsTest(parameterized.TestCase):
    """These tests search six photographs, from the pixels to the scores."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        everything = read_folder(shared.require("data/boofcv_triplets"))
        cls.images = ImageSet("photographs", everything.names[40:46], everything.paths[40:46])
        pictures = [read_image(path) for path in cls.images.paths]
        model = any_model()
        vectors = np.concatenate(
            [cwcf_jax.class_vectors(model, picture[None], num_classes=40).vectors[0] for picture in pictures]
        )
        cls.whitening = cwcf_jax.fit_pca_whitening(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dim=DIM)
        height, width = pictures[2].shape[:2]
        box = [[width / 4, height / 4, 3 * width / 4, height]]
        cls.classes = np.asarray(
            cwcf_jax.class_vectors(model, pictures[2][None], num_classes=12, boxes=box).class_ids[0]
        )
        encode = functools.partial(cwcf_jax.encode, model, class_ids=cls.classes, whitening=cls.whitening)
        cls.query = encode(pictures[2][None], boxes=box)[0]
        cls.expected = np.array([np.dot(encode(picture[None])[0], cls.query) for picture in pictures])

    def fill(self, **changes):
        options = {
            "classes": tuple(range(any_model().network.spec.num_labels)),
            "dim": DIM,
            "dtype": "int8",
            "fragment": 4,
        } | changes
        folder = pathlib.Path(self.create_tempdir().full_path)
        with ClassVectorWriter(folder, {}, StoreConfig(**options)) as writer:
            for path in self.images.paths:
                embedded = encoder.embed_classes(any_model(), read_image(path)[None], whitening=self.whitening)
                vectors = embedded.vectors[:, writer.layout.classes]
                if writer.layout.dtype == "int8":
                    writer.append(*map(np.asarray, quantize(vectors)))
                else:
                    writer.append(np.asarray(vectors, np.float16))
        return ClassVectorStore(folder)

    @parameterized.product(dtype=(("float16", 1e-3), ("int8", 1e-2)), resident=(False, True))
    def test_scores_are_those_from_the_images(self, dtype, resident):
        name, tolerance = dtype
        search = OnlineSearch(self.fill(dtype=name), resident=resident)
        actual = search.scores(self.query, self.classes)
        np.testing.assert_allclose(actual, self.expected, atol=tolerance)
        hits = search.search(self.query, self.classes, 3)
        self.assertEqual(hits.rows.tolist(), np.argsort(-self.expected)[:3].tolist())
        rows = np.array([5, 2, 4])
        np.testing.assert_allclose(search.rescore(self.query, self.classes, rows), actual[rows], atol=1e-6)
        vectors = search.vectors(self.classes, rows)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
        np.testing.assert_allclose(vectors @ self.query, actual[rows], atol=1e-6)

    def test_some_rows(self):
        store = self.fill(dtype="int8", fragment=2)
        whole = OnlineSearch(store).scores(self.query, self.classes)
        for first, last in ((0, 4), (4, 6), (2, 6), (4, 4)):
            for resident in (True, False):
                search = OnlineSearch(store, rows=range(first, last), resident=resident)
                np.testing.assert_array_equal(search.scores(self.query, self.classes), whole[first:last])

    def test_a_store_of_fewer_classes(self):
        kept = np.sort(self.classes[[0, 2, 5, 7]])
        search = OnlineSearch(self.fill(dtype="float16", classes=tuple(kept.tolist())))
        np.testing.assert_array_equal(search.available(self.classes, 3), self.classes[[0, 2, 5]])
        with self.assertRaisesRegex(ValueError, f"the store holds 4 classes, but not {self.classes[1]}"):
            search.scores(self.query, self.classes[:2])
        ids = search.available(self.classes, 64)
        pictures = [read_image(path) for path in self.images.paths]
        encode = functools.partial(cwcf_jax.encode, any_model(), class_ids=ids, whitening=self.whitening)
        expected = [encode(picture[None])[0] for picture in pictures]
        np.testing.assert_allclose(search.scores(self.query, ids), np.stack(expected) @ self.query, atol=1e-3)

    def test_a_query_of_another_length(self):
        search = OnlineSearch(self.fill())
        with self.assertRaisesRegex(ValueError, rf"vectors of {DIM} numbers, the query has shape \({DIM - 1},\)"):
            search.scores(self.query[:-1], self.classes)


def oracle(vectors, positions, query):
    """Computes the OnA score of the paper in float64: the normalised sum of the class vectors, times the query."""
    sums = vectors[positions].astype(np.float64).sum(axis=0)
    norms = np.linalg.norm(sums, axis=-1)
    return np.where(norms > 0, sums @ query / np.where(norms > 0, norms, 1.0), 0.0)


class OnlineScoresTest(parameterized.TestCase):
    @parameterized.product(n=(1, 7, 8, 20), dtype=("int8", "float16", "float32"))
    def test_against_the_definition(self, n, dtype):
        random = np.random.default_rng(n)
        vectors = random.normal(size=(20, 6, 9))
        vectors[:, 4] = 0  # an image without evidence
        query = random.normal(size=9)
        positions = random.permutation(20)[:n].astype(np.int32)
        scales = None
        values = vectors.astype(dtype) if dtype != "int8" else np.rint(30 * vectors).clip(-127, 127).astype(np.int8)
        if dtype == "int8":
            scales = random.uniform(0.1, 2.0, size=(20, 6)).astype(np.float32)
        dequantized = values.astype(np.float64) * (1.0 if scales is None else scales[..., None])
        actual = online_scores(values, scales, positions, jnp.asarray(query, jnp.float32))
        np.testing.assert_allclose(actual, oracle(dequantized, positions, query), atol=1e-5)
        self.assertEqual(float(actual[4]), 0.0)
        self.assertEqual(actual.dtype, jnp.float32)

    def test_equal_images_score_equally(self):
        random = np.random.default_rng(0)
        values = np.repeat(random.integers(-127, 128, (5, 1, 33), dtype=np.int8), 37, axis=1)
        query = jnp.asarray(random.normal(size=33), jnp.float32)
        actual = online_scores(values, np.ones((5, 37), np.float32), np.arange(5, dtype=np.int32), query)
        self.assertLen(np.unique(np.asarray(actual)), 1)


class BestTest(absltest.TestCase):
    @settings(deadline=None)
    @given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.integers(1, 35))
    def test_against_a_stable_sort(self, scores, count):
        actual = online.best(np.array(scores, np.float32), count)
        expected = sorted(range(len(scores)), key=lambda row: -scores[row])[:count]
        self.assertEqual(actual.rows.tolist(), expected)
        self.assertEqual(actual.scores.tolist(), [scores[row] for row in expected])

    def test_at_least_one(self):
        with self.assertRaisesRegex(ValueError, "returns at least 1 image, not 0"):
            online.best(np.zeros(3, np.float32), 0)


class ResidentTest(absltest.TestCase):
    def test_a_store_is_copied_to_an_accelerator_if_it_fits(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        with ClassVectorWriter(folder, {}, StoreConfig((0, 1), 4, "float16", 8)) as writer:
            writer.append(np.ones((9, 2, 4), np.float16))
        store = ClassVectorStore(folder)
        store_bytes = 2 * 8 * 2 * 4 * 2
        for limit, fits in ((store_bytes, False), (2 * store_bytes, True)):
            device = mock.Mock(memory_stats=lambda limit=limit: {"bytes_limit": limit})
            with (
                mock.patch("jax.default_backend", return_value="gpu"),
                mock.patch("jax.devices", return_value=[device]),
            ):
                self.assertEqual(online._fits(store, 2), fits)
        self.assertFalse(online._fits(store, 2))
        query = jnp.array([1.0, 0.0, 0.0, 0.0])
        search = OnlineSearch(store)
        np.testing.assert_allclose(search.scores(query, np.array([1])), np.full(9, 0.5), rtol=1e-6)
        self.assertEqual(search.search(query, np.array([1]), 2).rows.tolist(), [0, 1])


if __name__ == "__main__":
    absltest.main()
