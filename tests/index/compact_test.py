"""Compact indexes store only descriptors of pictures and of their regions."""

import dataclasses
import functools
import tempfile
from unittest import mock

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import cwcf_jax
from cwcf_jax import descriptors, encoder
from cwcf_jax.images import ImageError, read_image
from cwcf_jax.index import Index, QueryConfig, Searcher, encoding, explain, updater, whitening
from cwcf_jax.store import ClassVectorStore, MapStore
from tests.support import indexes, oracles

CONFIG = dataclasses.replace(indexes.CONFIG, compact=True)
COUNT = 7
FOLDER = tempfile.TemporaryDirectory()


def tearDownModule():
    FOLDER.cleanup()


@functools.cache
def _index():
    with mock.patch.object(whitening, "MIN_PICTURES", COUNT):
        return indexes.make(FOLDER.name, range(COUNT), CONFIG)


def _region_descriptor(index, image, cells, fitted):
    """Computes in float64 the descriptor of a region under its own classes; ``cells`` may be the whole map."""
    model = index.model
    batch = encoder.feature_maps(model, image[None])
    sizes = [np.asarray(size[0]).tolist() for size in (batch.feature_size, batch.cam_size)]
    maps = {
        name: np.asarray(getattr(batch, name)[0], np.float64)[: size[0], : size[1]]
        for name, size in zip(("features", "cam_features"), sizes, strict=True)
    }
    x1, y1, x2, y2 = cells
    height, width = sizes[0]
    rows, columns = sizes[1]
    stride = model.feature_layer.stride
    pixels, size = jnp.asarray([x1, y1, x2, y2], jnp.float32) * stride, jnp.asarray([height, width]) * stride
    mask = descriptors.region_mask(pixels, size, jnp.asarray([rows, columns]), (rows, columns))
    kernel, bias = (np.asarray(model.params["classifier"][name], np.float64) for name in ("kernel", "bias"))
    logits = maps["cam_features"][np.asarray(mask)].mean(axis=0) @ kernel + bias
    top = np.argsort(-logits, kind="stable")[: index.config.num_classes]
    vectors = indexes.float64_vectors(model, maps, top, np.s_[y1:y2, x1:x2])
    return oracles.l2(indexes.float64_whitened(vectors, fitted).sum(axis=0))


class CompactTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.index = _index()
        self.searcher = Searcher(self.index)
        self.picture = self.index.root / "3.png"

    def query(self):
        return self.searcher.describe(self.searcher.prepare(read_image(self.picture)), (5, 5, 60, 38))

    def test_descriptors_are_those_of_an_index_with_maps(self):
        """Checks descriptors that were computed from int8 maps, and that no maps remain."""
        self.assertEqual(MapStore(self.index.folder / "maps").names(), set())
        fitted, model = self.searcher.whitening, self.index.model
        for entry, descriptor in zip(*self.index.snapshot()[1:], strict=True):
            image = read_image(self.index.root / entry.path)
            expected = cwcf_jax.encode(model, image[None], num_classes=8, whitening=fitted)[0]
            self.assertGreater(float(descriptor @ np.asarray(expected)), 0.999)

    def test_regions_against_float64(self):
        entry = self.index.snapshot().entries[2]
        store = ClassVectorStore(self.index.generation_paths().vectors)
        runs = store.vectors(np.array([entry.row]), np.arange(encoder.NUM_GRID_REGIONS))
        vectors = (runs.values * runs.scales[..., None])[:, 0]
        image = read_image(self.index.root / entry.path)
        size = np.asarray(encoder.feature_maps(self.index.model, image[None]).feature_size[0]).tolist()
        for vector, cells in zip(vectors, encoder.grid(tuple(size))[1:].tolist(), strict=True):
            expected = _region_descriptor(self.index, image, cells, self.searcher.whitening)
            self.assertGreater(float(vector @ expected), 0.99)

    def test_the_best_are_re_ranked_by_their_stored_regions(self):
        query = self.query()
        hits_before = self.searcher.search(query)
        hits = self.searcher.search(query, QueryConfig(rerank=4))
        self.assertEqual({hit.entry for hit in hits[:4]}, {hit.entry for hit in hits_before[:4]})
        self.assertEqual(hits[4:], hits_before[4:])
        store = ClassVectorStore(self.index.generation_paths().vectors)
        picture_scores = {hit.entry.path: hit.score for hit in hits_before}
        for hit in hits[:4]:
            runs = store.vectors(np.array([hit.entry.row]), np.arange(encoder.NUM_GRID_REGIONS))
            regions = (runs.values * runs.scales[..., None])[:, 0].astype(np.float64)
            scores = regions / np.linalg.norm(regions, axis=1, keepdims=True) @ np.asarray(query.descriptor)
            self.assertAlmostEqual(hit.score, max(*scores, picture_scores[hit.entry.path]), delta=1e-5)
            image = read_image(self.index.root / hit.entry.path)
            size = np.asarray(encoder.feature_maps(self.index.model, image[None]).feature_size[0]).tolist()
            best = int(np.argmax([picture_scores[hit.entry.path], *scores]))
            self.assertEqual(list(hit.cells), encoder.grid(tuple(size))[best].tolist())
        self.assertEqual([hit.score for hit in hits[:4]], sorted((hit.score for hit in hits[:4]), reverse=True))

    def test_a_picture_of_the_index_is_found_by_itself(self):
        query = self.searcher.describe(self.searcher.prepare_indexed("3.png"))
        for query_config in (QueryConfig(), QueryConfig(rerank=3), QueryConfig(rerank=3, expand=2)):
            self.assertEqual(self.searcher.search(query, query_config)[0].entry.path, "3.png")

    @parameterized.parameters((QueryConfig("ona"),), (QueryConfig(classes=("3",)),))
    def test_no_class_vectors(self, query_config):
        with self.assertRaisesRegex(
            ValueError, f"{self.index.folder} is a compact index, which stores no class vectors. Search by"
        ):
            self.searcher.search(self.query(), query_config)

    def test_no_explanation_and_no_new_whitening(self):
        query = self.query()
        with self.assertRaisesRegex(ValueError, f"{self.index.folder} is a compact index, which stores no maps"):
            explain(self.searcher, query, self.searcher.search(query)[0], QueryConfig())
        with self.assertRaisesRegex(ValueError, f"{self.index.folder} is a compact index, which stores no maps to fit"):
            self.index.rebuild(refit=True)


class ChangesTest(indexes.IndexCase):
    def test_every_kind_of_change(self):
        index = self.make(0, 1, 2, 3, config=CONFIG)
        (self.root / "0.png").rename(self.root / "moved.png")
        (self.root / "2.png").unlink()
        indexes.draw(self.root / "3.png", 30)
        self.draw(5)
        with mock.patch.object(encoding, "model_maps", wraps=encoding.model_maps) as passes:
            self.assert_update(index.update(), added=1, changed=1, moved=1, removed=1, unchanged=1)
            self.assert_update(index.update(), unchanged=4)
            self.assertEqual(passes.call_count, 2)
        self.assertEqual(self.paths(index), ["1.png", "3.png", "5.png", "moved.png"])
        other = Index.create(self.root, CONFIG, folder=self.create_tempdir().full_path + "/index")
        other.update()
        indexes.assert_same(self, index, other)
        self.assertEqual(self.class_rows(index), 6)
        descriptors = index.snapshot().descriptors
        with mock.patch.object(updater, "SMALL_SHARD", 3):
            index.rebuild()
        self.assertEqual(self.class_rows(index), 4)
        np.testing.assert_array_equal(index.snapshot().descriptors, descriptors)
        indexes.assert_same(self, index, other)
        self.draw(6)
        self.assert_update(index.update(), added=1, unchanged=4)
        (self.root / "6.png").unlink()
        with self.assertRaisesRegex(ImageError, "6.png: no such file"):
            Searcher(index).prepare_indexed("6.png")


if __name__ == "__main__":
    absltest.main()
