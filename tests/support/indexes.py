"""This module makes folders of small pictures, and their indexes with a thin network with random weights."""

import dataclasses
import pathlib
import tempfile

import numpy as np
from absl.testing import parameterized
from PIL import Image

from cwcf_jax.index import Index, QueryConfig, Searcher, Update, make_index_config
from cwcf_jax.index.index_config import maps_location
from cwcf_jax.store import ClassVectorStore, MapStore
from tests.support import oracles, thin

thin.register()
_FOLDER = tempfile.TemporaryDirectory()
WEIGHTS = thin.save(pathlib.Path(_FOLDER.name, f"{thin.NAME}.npz"))
CONFIG = make_index_config(WEIGHTS, num_classes=8, dim=16, resize="none", own_classes=24)

NOTHING = Update(added=0, changed=0, moved=0, removed=0, unchanged=0, refused=())


def draw(path, seed):
    """Draws a checkered square on a plain ground. All pictures have maps of the same bucket, to save compilations."""
    random = np.random.default_rng(seed)
    width, height = random.integers((72, 40), (97, 65)).tolist()
    image = Image.new("RGB", (width, height), tuple(random.integers(0, 256, 3).tolist()))
    checks = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    image.paste(checks.resize((30, 30), Image.Resampling.NEAREST), random.integers((width - 30, height - 30)).tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def make(root, seeds, config=CONFIG):
    """Draws the pictures ``SEED.png`` in a folder, and indexes the folder."""
    root = pathlib.Path(root)
    for seed in seeds:
        draw(root / f"{seed}.png", seed)
    index = Index.create(root, config)
    index.update()
    return index


def float64_vectors(model, maps, class_ids, cut=np.s_[:, :], pool=oracles.class_vector):
    """Computes class vectors (Eq. 1 to 4) from the maps of an image or a region; 0 for a class without evidence.

    ``pool`` is a function of features and a normalized CAM of the same cells.
    """
    kernel = np.asarray(model.params["classifier"]["kernel"], np.float64)
    features = np.asarray(maps["features"], np.float64)
    cams = np.asarray(maps["cam_features"], np.float64) @ kernel[:, class_ids]
    vectors = np.zeros((len(class_ids), features.shape[2]))
    for vector, cam in zip(vectors, np.moveaxis(cams, -1, 0), strict=True):
        if cam.max() > 0:
            vector[:] = pool(features[cut], oracles.min_max(cam)[cut])
    return vectors


def float64_whitened(vectors, whitening):
    """Normalizes, whitens and normalizes each vector; the zero vector stays zero."""
    projection = np.asarray(whitening.projection, np.float64) / np.sqrt(np.asarray(whitening.eigenvalues, np.float64))
    mean = np.asarray(whitening.mean, np.float64)
    zero = np.zeros(projection.shape[1])
    return np.stack([oracles.descriptor([vector], mean, projection) if vector.any() else zero for vector in vectors])


def class_vectors(index, rows):
    """Returns the stored class vectors [rows, classes, d] in float64, and their quantization steps [rows, classes]."""
    store = ClassVectorStore(index.generation_paths().vectors)
    runs = store.vectors(np.asarray(rows, np.int64), np.arange(len(store.layout.classes)))
    values, scales = runs.values[runs.positions], runs.scales[runs.positions]
    return (values.astype(np.float64) * scales[..., None]).swapaxes(0, 1), scales.T


def assert_whole(test, index):
    """Asserts that an index has exactly the pictures of its folder, and their maps unless it is compact."""
    _, entries, _ = index.snapshot()
    files = {path.relative_to(index.root).as_posix() for path in index.root.rglob("*.png")}
    test.assertEqual({entry.path for entry in entries}, files)
    maps = MapStore(maps_location(index.folder, index.config))
    contents = set() if index.config.compact else {entry.content for entry in entries}
    test.assertEqual(maps.names(), contents)


def assert_same(test, index, expected):
    """Asserts that two indexes have the same pictures, descriptors and class vectors, and find the same hits."""
    assert_whole(test, index)
    _, entries, descriptors = index.snapshot()
    _, expected_entries, expected_descriptors = expected.snapshot()

    def facts(entries):
        return [(entry.path, entry.content, entry.size, entry.width, entry.height) for entry in entries]

    test.assertEqual(facts(entries), facts(expected_entries))
    np.testing.assert_allclose(descriptors, expected_descriptors, atol=1e-6)
    vectors, steps = class_vectors(index, [entry.row for entry in entries])
    expected_vectors, _ = class_vectors(expected, [entry.row for entry in expected_entries])
    test.assertLessEqual(np.max(np.abs(vectors - expected_vectors) - 1.001 * steps[..., None]), 0)
    searchers = Searcher(index), Searcher(expected)
    query_configs = (
        [QueryConfig(), QueryConfig(rerank=4)] if index.config.compact else [QueryConfig(), QueryConfig("ona")]
    )
    for query_config in query_configs:
        hits, expected_hits = (
            searcher.search(
                searcher.describe(searcher.prepare_indexed(entries[0].path)), query_config, count=len(entries)
            )
            for searcher in searchers
        )
        np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in expected_hits], atol=1e-4)
        test.assertEqual({hit.entry.path for hit in hits}, {hit.entry.path for hit in expected_hits})
        best = {hit.entry.content for hit in hits if hit.score > hits[0].score - 1e-4}
        test.assertIn(entries[0].content, best)


class IndexCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)

    def draw(self, *seeds):
        for seed in seeds:
            draw(self.root / f"{seed}.png", seed)

    def make(self, *seeds, config=CONFIG):
        return make(self.root, seeds, config)

    def paths(self, index):
        return [entry.path for entry in index.snapshot().entries]

    def assert_update(self, update, **numbers):
        self.assertEqual(update, dataclasses.replace(NOTHING, **numbers))

    def class_rows(self, index):
        return ClassVectorStore(index.generation() / "vectors").length
