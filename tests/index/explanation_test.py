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

ROUNDED = 0.5 * np.sqrt(DIM) / 127
"""How far a vector of norm 1 may lie from itself in int8: half a step in each of its numbers."""


def tearDownModule():
    FOLDER.cleanup()


@functools.cache
def _index():
    with mock.patch.object(whitening, "MIN_PICTURES", COUNT):  # so that there is a mean to subtract
        return indexes.make(FOLDER.name, range(COUNT), dataclasses.replace(indexes.CONFIG, dim=DIM))


class ExplainTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.index = _index()
        self.searcher = Searcher(self.index)
        self.image = read_image(self.index.root / "7.png")

    def hits(self, options):
        query = self.searcher.describe(self.searcher.prepare(self.image), BOX, options.classes)
        return query, self.searcher.search(query, options)

    @parameterized.parameters(
        (QueryConfig(), 1e-5),
        (QueryConfig("ona"), ROUNDED),
        (QueryConfig(classes=("3", "1")), ROUNDED),
        (QueryConfig(rerank=COUNT), 1e-5),
        (QueryConfig("ona", rerank=COUNT), 1e-5),
        (QueryConfig(online=COUNT), ROUNDED),
    )
    def test_pairs_and_cells_sum_to_the_score(self, options, atol):
        """As it is shown: of the picture, with class vectors in int8 under OnA, or of its best region."""
        query, hits = self.hits(options)
        for hit in (hits[0], hits[3], hits[-1]):
            found = explain(self.searcher, query, hit, options, count=5)
            self.assertAlmostEqual(found.score, hit.score, delta=atol)
            self.assertAlmostEqual(sum(pair.share for pair in found.pairs) + found.rest, found.score, delta=1e-6)
            self.assertAlmostEqual(np.sum(found.cells, dtype=np.float64) + found.constant, found.score, delta=1e-5)
            maps = MapStore(self.index.folder / "maps").read(hit.entry.content)
            self.assertEqual(found.cells.shape, maps["features"].shape[:2])

    def test_of_a_region_nothing_outside_counts(self):
        options = QueryConfig(rerank=COUNT)
        query, hits = self.hits(options)
        hit = dataclasses.replace(hits[0], cells=(1, 2, 5, 4))
        found = explain(self.searcher, query, hit, options)
        maps = MapStore(self.index.folder / "maps").read(hit.entry.content)
        vectors = indexes.float64_vectors(self.index.model, maps, query.class_ids[:6], np.s_[2:4, 1:5])
        region = oracles.l2(indexes.float64_whitened(vectors, self.searcher.whitening).sum(axis=0))
        short = oracles.l2(np.asarray(query.vectors[:6], np.float64).sum(axis=0))
        self.assertAlmostEqual(found.score, float(region @ short), delta=1e-5)
        cells = found.cells.copy()
        self.assertAlmostEqual(cells.sum() + found.constant, found.score, delta=1e-5)
        cells[2:4, 1:5] = 0
        np.testing.assert_array_equal(cells, 0)

    def test_pairs_are_of_the_classes_vectors(self):
        """Under OnA both sides have the query's classes: the share of a pair is the product of its vectors."""
        query, hits = self.hits(QueryConfig("ona"))
        found = explain(self.searcher, query, hits[1], QueryConfig("ona"), count=64)
        names = [networks.class_names(self.index.model.network.spec)[c] for c in query.class_ids]
        vectors = indexes.class_vectors(self.index, [hits[1].entry.row])[0][0][query.class_ids]
        kept = np.any(vectors != 0, axis=1)
        asked = np.asarray(query.vectors, np.float64)
        lengths = [np.linalg.norm(one.sum(axis=0)) for one in (asked, vectors)]
        expected = asked @ vectors.T / np.prod(lengths)
        self.assertLen(found.pairs, min(64, len(kept) * int(kept.sum())))
        self.assertAlmostEqual(found.rest, 0, delta=1e-6)
        self.assertEqual([p.share for p in found.pairs], sorted((p.share for p in found.pairs), reverse=True))
        for pair in found.pairs:
            self.assertAlmostEqual(pair.share, expected[names.index(pair.query), names.index(pair.picture)], delta=1e-3)

    def test_under_ona_a_picture_has_those_of_the_query_s_classes_that_it_keeps(self):
        options = QueryConfig(classes=tuple(map(str, range(self.index.model.network.spec.num_labels))))
        query, hits = self.hits(options)
        found = explain(self.searcher, query, hits[-1], options, count=10**4)
        own = self.index.config.own_classes
        self.assertLen({pair.picture for pair in found.pairs}, own)
        self.assertAlmostEqual(found.score, hits[-1].score, delta=1e-3)
        logits = np.mean(MapStore(self.index.folder / "maps").read(hits[-1].entry.content)["cam_features"], axis=(0, 1))
        kernel, bias = (np.asarray(self.index.model.params["classifier"][name]) for name in ("kernel", "bias"))
        least = int(np.argmin(logits @ kernel + bias))
        options = QueryConfig(classes=(str(least),))
        query = self.searcher.describe(self.searcher.prepare(self.image), BOX, options.classes)
        hit = next(hit for hit in self.searcher.search(query, options) if hit.entry == hits[-1].entry)
        found = explain(self.searcher, query, hit, options)
        self.assertEqual((hit.score, found.score, found.pairs, found.rest, found.constant), (0, 0, (), 0, 0))
        self.assertEqual(np.abs(found.cells).max(), 0)

    def test_under_ofa_pictures_have_their_own_classes(self):
        query, hits = self.hits(QueryConfig())
        found = explain(self.searcher, query, hits[-1], QueryConfig(), count=64)
        own = self.searcher.describe(self.searcher.prepare_indexed(hits[-1].entry.path))
        names = networks.class_names(self.index.model.network.spec)
        self.assertEqual({pair.query for pair in found.pairs}, {names[c] for c in query.class_ids})
        self.assertEqual({pair.picture for pair in found.pairs}, {names[c] for c in own.class_ids})
        self.assertNotEqual(set(own.class_ids.tolist()), set(query.class_ids.tolist()))
        total = oracles.l2(np.asarray(own.vectors, np.float64).sum(axis=0))
        self.assertAlmostEqual(found.score, float(total @ np.asarray(query.descriptor, np.float64)), delta=1e-5)

    def test_a_picture_that_is_gone(self):
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
