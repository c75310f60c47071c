import dataclasses
import functools
import pathlib
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.images import ImageError, read_image
from cwcf_jax.index import Index, QueryConfig, Searcher
from cwcf_jax.index.search import IndexRanker
from cwcf_jax.search.reciprocal import ReciprocalConfig
from cwcf_jax.store import MapStore
from tests.support import indexes, oracles
from tests.support.packages import package

COUNT = 24
BOX = 5.0, 10.0, 60.0, 38.0
FOLDER = tempfile.TemporaryDirectory()


def tearDownModule():
    FOLDER.cleanup()


@functools.cache
def _index():
    return indexes.make(FOLDER.name, range(COUNT))


def _picture(name="12.png"):
    return read_image(_index().root / name)


def _best_region(index, content, query, whitening):
    """Finds the best region of a picture (section 4.5) in float64; returns its score, descriptor and box in cells."""
    kernel = np.asarray(index.model.params["classifier"]["kernel"], np.float64)
    maps = MapStore(index.folder / "maps").read(content)
    cams = np.moveaxis(np.asarray(maps["cam_features"], np.float64) @ kernel[:, query.class_ids[:2]], -1, 0)
    heat = np.mean([oracles.min_max(cam) if cam.max() > 0 else 0 * cam for cam in cams], axis=0)
    query_descriptor = oracles.l2(np.asarray(query.vectors[:6], np.float64).sum(axis=0))
    best = -np.inf, np.zeros(len(query_descriptor)), (0, 0, 0, 0)
    for fraction in (0.01, 0.1, 0.2, 0.3, 0.4):
        hot = (heat > fraction * heat.max()).astype(np.uint8)
        _, _, stats, _ = package("cv2").connectedComponentsWithStats(hot)
        x, y, width, height, _ = stats[1 + np.argmax(stats[1:, 4])].tolist()
        cut = np.s_[y : y + height, x : x + width]
        vectors = indexes.float64_vectors(index.model, maps, query.class_ids[:6], cut)
        vector = oracles.l2(indexes.float64_whitened(vectors, whitening).sum(axis=0))
        if vector @ query_descriptor > best[0]:
            best = vector @ query_descriptor, vector, (x, y, x + width, y + height)
    return best


class SearchCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.index = _index()
        self.searcher = Searcher(self.index)
        self.snapshot = self.index.snapshot()
        self.query = self.searcher.describe(self.searcher.prepare(_picture()), BOX)

    def assert_scores(self, hits, scores, atol=1e-5):
        """Compares hits with ``scores`` of all pictures, ordered by path."""
        actual = {hit.entry: hit.score for hit in hits}
        self.assertEqual(actual.keys(), set(self.snapshot.entries))
        np.testing.assert_allclose([actual[entry] for entry in self.snapshot.entries], scores, atol=atol)
        self.assertEqual([hit.score for hit in hits], sorted(actual.values(), reverse=True))

    def search(self, query=None, **fields):
        return self.searcher.search(query or self.query, QueryConfig(**fields), count=COUNT)

    def online(self, query):
        """Computes the descriptors of all pictures under the query's classes in float64."""
        vectors, _ = indexes.class_vectors(self.index, [entry.row for entry in self.snapshot.entries])
        return np.stack([oracles.l2(picture[query.class_ids].sum(axis=0)) for picture in vectors])


class RankingTest(SearchCase):
    def test_ofa(self):
        expected = self.snapshot.descriptors.astype(np.float64) @ np.asarray(self.query.descriptor, np.float64)
        self.assert_scores(self.search(), expected)

    def test_ona(self):
        expected = self.online(self.query) @ np.asarray(self.query.descriptor, np.float64)
        self.assert_scores(self.search(aggregation="ona"), expected)

    def test_classes_by_name_and_index(self):
        names = self.index.model.network.spec.class_names
        prepared = self.searcher.prepare(_picture())
        by_name = self.searcher.describe(prepared, None, (names[7].upper(), names[2]))
        np.testing.assert_array_equal(by_name.class_ids, [7, 2])
        by_index = self.searcher.describe(prepared, None, ("7", " 2", "7"))
        np.testing.assert_array_equal(by_index.descriptor, by_name.descriptor)
        expected = self.online(by_name) @ np.asarray(by_name.descriptor, np.float64)
        self.assert_scores(self.search(by_name, classes=("7", "2")), expected)
        hits = self.index.search(_picture(), options=QueryConfig(classes=("7", "2")), count=COUNT)
        self.assert_scores(hits, expected)

    def test_no_such_class(self):
        with self.assertRaisesRegex(ValueError, "'unicorn' is not a class of thin_cam"):
            self.index.search(_picture(), options=QueryConfig(classes=("unicorn",)))

    @parameterized.parameters("ofa", "ona")
    def test_a_picture_finds_itself(self, aggregation):
        for path in ("12.png", "11.png"):
            from_index = self.searcher.describe(self.searcher.prepare_indexed(path))
            from_file = self.searcher.describe(self.searcher.prepare(_picture(path)))
            for query, atol in ((from_index, 1e-5), (from_file, 1e-3)):  # stored maps are int8
                best = self.search(query, aggregation=aggregation)[0]
                self.assertEqual((best.entry.path, best.box, best.cells), (path, None, None))
                self.assertAlmostEqual(best.score, 1.0, delta=atol + (1e-3 if aggregation == "ona" else 0))

    def test_pages(self):
        all_hits = self.search()
        pages = [self.searcher.search(self.query, count=7, first=first) for first in range(0, COUNT + 7, 7)]
        self.assertEqual([hit for page in pages for hit in page], all_hits)
        self.assertEqual(self.searcher.search(self.query), all_hits[:20])

    def test_equal_scores_are_ordered_by_path(self):
        root = pathlib.Path(self.create_tempdir().full_path)
        for name in ("b", "c", "sub/a", "a"):
            indexes.draw(root / f"{name}.png", 1)
        index = Index.create(root, indexes.CONFIG)
        index.update()
        for aggregation in "ofa", "ona":
            hits = index.search(root / "a.png", options=QueryConfig(aggregation))
            self.assertEqual([hit.entry.path for hit in hits], ["a.png", "b.png", "c.png", "sub/a.png"])


class LaterStepsTest(SearchCase):
    @parameterized.parameters("ofa", "ona")
    def test_the_best_are_re_ranked_by_their_best_regions(self, aggregation):
        hits_before = self.search(aggregation=aggregation)
        hits = self.search(aggregation=aggregation, rerank=9)
        self.assertEqual({hit.entry for hit in hits[:9]}, {hit.entry for hit in hits_before[:9]})
        self.assertEqual(hits[9:], hits_before[9:])
        whitening = self.searcher.whitening
        scores = [hit.score for hit in hits[:9]]
        self.assertEqual(scores, sorted(scores, reverse=True))
        for hit in hits[:9]:
            score, _, cells = _best_region(self.index, hit.entry.content, self.query, whitening)
            self.assertAlmostEqual(hit.score, score, delta=1e-4)
            self.assertEqual(hit.cells, cells)

    def test_boxes_are_in_pixels_of_the_picture(self):
        proper_regions = 0
        for hit in self.search(rerank=COUNT):
            height, width = MapStore(self.index.folder / "maps").read(hit.entry.content)["features"].shape[:2]
            proper_regions += hit.cells != (0, 0, width, height)
            x1, y1, x2, y2 = hit.cells
            scale_x, scale_y = hit.entry.width / width, hit.entry.height / height
            self.assertEqual(
                hit.box, (round(x1 * scale_x), round(y1 * scale_y), round(x2 * scale_x), round(y2 * scale_y))
            )
            self.assertTrue(0 <= hit.box[0] < hit.box[2] <= hit.entry.width)
            self.assertTrue(0 <= hit.box[1] < hit.box[3] <= hit.entry.height)
        self.assertGreater(proper_regions, 5)

    @parameterized.parameters("none", "min37", "max90", "squash60x50")
    def test_boxes_fit_the_stored_maps(self, resize):
        root = self.create_tempdir().full_path
        index = indexes.make(root, range(3), dataclasses.replace(indexes.CONFIG, resize=resize))
        searcher = Searcher(index)
        query = searcher.describe(searcher.prepare_indexed("1.png"))
        contents = [entry.content for entry in index.snapshot().entries]
        shapes = {content: MapStore(index.folder / "maps").read(content)["features"].shape for content in contents}
        with mock.patch.object(MapStore, "read", autospec=True, side_effect=MapStore.read) as read:
            hits = searcher.search(query, QueryConfig(rerank=2))
        self.assertEqual(read.call_count, 2)  # maps are read for the regions, and not again for the boxes
        for hit in hits[:2]:
            height, width, _ = shapes[hit.entry.content]
            scale = np.array([hit.entry.width / width, hit.entry.height / height] * 2)
            self.assertEqual(hit.box, tuple(np.rint(hit.cells * scale).astype(int).tolist()))

    @parameterized.product(aggregation=("ofa", "ona"), rerank=(0, 3), expand=(1, 5, COUNT + 3))
    def test_expansion(self, aggregation, rerank, expand):
        hits_before = self.search(aggregation=aggregation, rerank=rerank)
        paths = [entry.path for entry in self.snapshot.entries]
        order = [paths.index(hit.entry.path) for hit in hits_before]
        database = self.snapshot.descriptors.astype(np.float64) if aggregation == "ofa" else self.online(self.query)
        whitening = self.searcher.whitening
        for row in order[:rerank]:  # the regions replace their pictures
            content = self.snapshot.entries[row].content
            database[row] = _best_region(self.index, content, self.query, whitening)[1]
        query = np.asarray(self.query.descriptor, np.float64)
        expanded = oracles.l2(query + database[order[:expand]].sum(axis=0))
        self.assert_scores(
            self.search(aggregation=aggregation, rerank=rerank, expand=expand), database @ expanded, 2e-4
        )

    def ranked(self, aggregation="ofa", online=0, rerank=0, expand=0, reciprocal=0):
        """Runs all steps of a search in float64; returns paths and scores, best first."""
        entries = self.snapshot.entries
        query = np.asarray(self.query.descriptor, np.float64)
        database = self.snapshot.descriptors.astype(np.float64) if aggregation == "ofa" else self.online(self.query)
        scores = database @ query
        order = np.argsort(-scores)

        def reorder(count, new_scores):
            best = order[:count]
            scores[best] = new_scores
            order[:count] = best[np.argsort(-scores[best])]

        if online:
            database[order[:online]] = self.online(self.query)[order[:online]]
            reorder(online, database[order[:online]] @ query)
        if rerank:
            contents = [entries[row].content for row in order[:rerank]]
            whitening = self.searcher.whitening
            regions = [_best_region(self.index, content, self.query, whitening)[:2] for content in contents]
            region_scores, database[order[:rerank]] = map(np.stack, zip(*regions, strict=True))
            reorder(rerank, region_scores)
        if expand:
            query = oracles.l2(query + database[order[:expand]].sum(axis=0))
            scores = database @ query
            order = np.argsort(-scores)
        if reciprocal:
            reciprocal_config = ReciprocalConfig(images=reciprocal, k1=30, k2=3, original_weight=0.7)
            reorder(reciprocal, oracles.reciprocal_scores(query, database[order[:reciprocal]], reciprocal_config))
        return [entries[row].path for row in order], scores[order]

    @parameterized.parameters(
        dict(online=9),
        dict(online=COUNT + 3),
        dict(reciprocal=14),
        dict(aggregation="ona", expand=3, reciprocal=COUNT + 3),
        dict(online=9, rerank=5, expand=4, reciprocal=14),
        dict(online=14, rerank=14, reciprocal=14),
    )
    def test_steps_after_the_first_search(self, **steps):
        paths, scores = self.ranked(**steps)
        hits = self.search(**steps)
        self.assertEqual([hit.entry.path for hit in hits], paths)
        np.testing.assert_allclose([hit.score for hit in hits], scores, atol=2e-4)
        self.assertEqual(sum(hit.box is not None for hit in hits), steps.get("rerank", 0))

    @parameterized.parameters("ofa", "ona")
    def test_replaced_pictures_leave_their_ranks_to_the_next_ones(self, aggregation):
        class_ids = self.query.class_ids if aggregation == "ona" else None
        ranker = IndexRanker(self.searcher.ranker(), class_ids)
        original = ranker.best(self.query.descriptor, 7)
        opposite = np.tile(-np.asarray(self.query.descriptor), (4, 1))
        replaced = ranker.replace(original.rows[:4], opposite)
        actual = replaced.best(self.query.descriptor, 3)
        self.assertEqual(actual.rows.tolist(), original.rows[4:].tolist())
        np.testing.assert_array_equal(actual.scores, original.scores[4:])
        np.testing.assert_array_equal(replaced.vectors(original.rows[:4]), opposite)
        self.assertEqual(ranker.best(self.query.descriptor, 7).rows.tolist(), original.rows.tolist())


class ChangingIndexTest(absltest.TestCase):
    def test_changes_are_seen_at_the_next_query(self):
        root = pathlib.Path(self.create_tempdir().full_path)
        index = indexes.make(root, range(3))
        searcher = Searcher(Index(root))
        query = searcher.describe(searcher.prepare_indexed("1.png"))

        def search(query_config=None):
            return [hit.entry.path for hit in searcher.search(query, query_config)]

        self.assertCountEqual(search(), ["0.png", "1.png", "2.png"])
        ranker = searcher.ranker()
        self.assertIs(searcher.ranker(), ranker)
        indexes.draw(root / "3.png", 3)
        (root / "0.png").unlink()
        index.update()
        self.assertCountEqual(search(), ["1.png", "2.png", "3.png"])
        self.assertCountEqual(search(QueryConfig("ona")), ["1.png", "2.png", "3.png"])
        index.rebuild()
        self.assertCountEqual(search(), ["1.png", "2.png", "3.png"])
        index.remove(["1.png", "2.png", "3.png"])
        self.assertEqual(search(QueryConfig("ona", rerank=3, expand=2)), [])
        with self.assertRaises(KeyError):
            searcher.prepare_indexed("1.png")


class IndexSearchTest(SearchCase):
    def test_a_path_or_an_image(self):
        file = self.index.root / "12.png"
        expected = self.search(rerank=5)
        for picture in (file, str(file), _picture()):
            hits = self.index.search(picture, box=BOX, options=QueryConfig(rerank=5), count=5, first=2)
            self.assertEqual(hits, expected[2:7])

    def test_no_region_and_no_picture(self):
        with self.assertRaisesRegex(ValueError, r"the region 0,0,500,9 does not lie within the picture's"):
            self.index.search(_picture(), box=(0.0, 0.0, 500.0, 9.0))
        with self.assertRaisesRegex(ImageError, "nothing.png: no such file"):
            self.index.search("nothing.png")

    def test_an_empty_index(self):
        root = pathlib.Path(self.create_tempdir().full_path)
        index = Index.create(root, indexes.CONFIG)
        with self.assertRaisesRegex(FileNotFoundError, "is an empty index; fill it with cwcf index"):
            index.search(_picture())


if __name__ == "__main__":
    absltest.main()
