import dataclasses
import functools
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax import networks
from cwcf_jax.images import read_image
from cwcf_jax.index import QueryConfig, Searcher, explain, whitening
from cwcf_jax.store import MapStore
from tests.support import indexes, oracles

COUNT = 8
FOLDER = tempfile.TemporaryDirectory()
BOX = 5.0, 10.0, 60.0, 38.0

DIM = 5

ROUNDING_ERROR = 0.5 * np.sqrt(DIM) / 127
"""The largest distance of a vector of norm 1 from its int8 values: half a step in each dimension."""


def tearDownModule():
    FOLDER.cleanup()


@functools.cache
def _index():
    with mock.patch.object(whitening, "MIN_PICTURES", COUNT):  # so that the whitening has a mean
        return indexes.make(FOLDER.name, range(COUNT), dataclasses.replace(indexes.CONFIG, dim=DIM))


class ExplainTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.index = _index()
        self.searcher = Searcher(self.index)
        self.image = read_image(self.index.root / "7.png")

    def search(self, query_config):
        query = self.searcher.describe(self.searcher.prepare(self.image), BOX, query_config.classes)
        return query, self.searcher.search(query, query_config)

    @parameterized.parameters(
        (QueryConfig(), 1e-5),
        (QueryConfig("ona"), ROUNDING_ERROR),
        (QueryConfig(classes=("3", "1")), ROUNDING_ERROR),
        (QueryConfig(rerank=COUNT), 1e-5),
        (QueryConfig("ona", rerank=COUNT), 1e-5),
        (QueryConfig(online=COUNT), ROUNDING_ERROR),
    )
    def test_pairs_and_cells_sum_to_the_score(self, query_config, atol):
        """Compares with the score of the hit, which belongs to the picture or to its best region."""
        query, hits = self.search(query_config)
        for hit in (hits[0], hits[3], hits[-1]):
            explanation = explain(self.searcher, query, hit, query_config, count=5)
            self.assertAlmostEqual(explanation.score, hit.score, delta=atol)
            self.assertAlmostEqual(
                sum(pair.share for pair in explanation.pairs) + explanation.rest, explanation.score, delta=1e-6
            )
            self.assertAlmostEqual(
                np.sum(explanation.cells, dtype=np.float64) + explanation.constant, explanation.score, delta=1e-5
            )
            maps = MapStore(self.index.folder / "maps").read(hit.entry.content)
            self.assertEqual(explanation.cells.shape, maps["features"].shape[:2])

    def test_cells_outside_a_region_have_no_share(self):
        query_config = QueryConfig(rerank=COUNT)
        query, hits = self.search(query_config)
        hit = dataclasses.replace(hits[0], cells=(1, 2, 5, 4))
        explanation = explain(self.searcher, query, hit, query_config)
        maps = MapStore(self.index.folder / "maps").read(hit.entry.content)
        vectors = indexes.float64_vectors(self.index.model, maps, query.class_ids[:6], np.s_[2:4, 1:5])
        region = oracles.l2(indexes.float64_whitened(vectors, self.searcher.whitening).sum(axis=0))
        query_descriptor = oracles.l2(np.asarray(query.vectors[:6], np.float64).sum(axis=0))
        self.assertAlmostEqual(explanation.score, float(region @ query_descriptor), delta=1e-5)
        cells = explanation.cells.copy()
        self.assertAlmostEqual(cells.sum() + explanation.constant, explanation.score, delta=1e-5)
        cells[2:4, 1:5] = 0
        np.testing.assert_array_equal(cells, 0)

    def test_shares_are_products_of_class_vectors(self):
        """Tests OnA, where query and picture have the same classes."""
        query, hits = self.search(QueryConfig("ona"))
        explanation = explain(self.searcher, query, hits[1], QueryConfig("ona"), count=64)
        names = [networks.class_names(self.index.model.network.spec)[c] for c in query.class_ids]
        vectors = indexes.class_vectors(self.index, [hits[1].entry.row])[0][0][query.class_ids]
        has_vector = np.any(vectors != 0, axis=1)
        query_vectors = np.asarray(query.vectors, np.float64)
        lengths = [np.linalg.norm(rows.sum(axis=0)) for rows in (query_vectors, vectors)]
        expected = query_vectors @ vectors.T / np.prod(lengths)
        self.assertLen(explanation.pairs, min(64, len(has_vector) * int(has_vector.sum())))
        self.assertAlmostEqual(explanation.rest, 0, delta=1e-6)
        shares = [pair.share for pair in explanation.pairs]
        self.assertEqual(shares, sorted(shares, reverse=True))
        for pair in explanation.pairs:
            self.assertAlmostEqual(pair.share, expected[names.index(pair.query), names.index(pair.picture)], delta=1e-3)

    def test_under_ona_a_picture_has_its_stored_query_classes(self):
        query_config = QueryConfig(classes=tuple(map(str, range(self.index.model.network.spec.num_labels))))
        query, hits = self.search(query_config)
        explanation = explain(self.searcher, query, hits[-1], query_config, count=10**4)
        own_classes = self.index.config.own_classes
        self.assertLen({pair.picture for pair in explanation.pairs}, own_classes)
        self.assertAlmostEqual(explanation.score, hits[-1].score, delta=1e-3)
        logits = np.mean(MapStore(self.index.folder / "maps").read(hits[-1].entry.content)["cam_features"], axis=(0, 1))
        kernel, bias = (np.asarray(self.index.model.params["classifier"][name]) for name in ("kernel", "bias"))
        least_probable = int(np.argmin(logits @ kernel + bias))
        query_config = QueryConfig(classes=(str(least_probable),))
        query = self.searcher.describe(self.searcher.prepare(self.image), BOX, query_config.classes)
        hit = next(hit for hit in self.searcher.search(query, query_config) if hit.entry == hits[-1].entry)
        explanation = explain(self.searcher, query, hit, query_config)
        self.assertEqual((hit.score, explanation.score, explanation.pairs), (0, 0, ()))
        self.assertEqual((explanation.rest, explanation.constant), (0, 0))
        self.assertEqual(np.abs(explanation.cells).max(), 0)

    def test_under_ofa_pictures_have_their_own_classes(self):
        query, hits = self.search(QueryConfig())
        explanation = explain(self.searcher, query, hits[-1], QueryConfig(), count=64)
        picture = self.searcher.describe(self.searcher.prepare_indexed(hits[-1].entry.path))
        names = networks.class_names(self.index.model.network.spec)
        self.assertEqual({pair.query for pair in explanation.pairs}, {names[c] for c in query.class_ids})
        self.assertEqual({pair.picture for pair in explanation.pairs}, {names[c] for c in picture.class_ids})
        self.assertNotEqual(set(picture.class_ids.tolist()), set(query.class_ids.tolist()))
        descriptor = oracles.l2(np.asarray(picture.vectors, np.float64).sum(axis=0))
        self.assertAlmostEqual(
            explanation.score, float(descriptor @ np.asarray(query.descriptor, np.float64)), delta=1e-5
        )

    def test_a_removed_picture(self):
        root = self.create_tempdir().full_path
        index = indexes.make(root, range(2))
        searcher = Searcher(index)
        query = searcher.describe(searcher.prepare_indexed("0.png"))
        hit = searcher.search(query)[1]
        index.remove(["1.png"])
        with self.assertRaisesRegex(KeyError, "1.png"):
            explain(searcher, query, hit, QueryConfig())


if __name__ == "__main__":
    absltest.main()
