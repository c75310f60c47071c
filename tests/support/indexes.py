"""Folders of small pictures, and indexes of them by a thin network with random weights."""

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
SETTINGS = make_index_config(WEIGHTS, num_classes=8, dim=16, resize="none", own_classes=24)

NOTHING = Update(added=0, changed=0, moved=0, removed=0, unchanged=0, refused=())


def draw(path, seed):
    """A checkered thing on plain ground; of sizes whose maps are all padded to one shape: fewer passes to compile."""
    random = np.random.default_rng(seed)
    width, height = random.integers((72, 40), (97, 65)).tolist()
    image = Image.new("RGB", (width, height), tuple(random.integers(0, 256, 3).tolist()))
    checks = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    image.paste(checks.resize((30, 30), Image.Resampling.NEAREST), random.integers((width - 30, height - 30)).tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def make(root, seeds, settings=SETTINGS):
    """A folder of the pictures ``SEED.png`` and its index, filled."""
    root = pathlib.Path(root)
    for seed in seeds:
        draw(root / f"{seed}.png", seed)
    index = Index.create(root, settings)
    index.update()
    return index


def float64_vectors(model, maps, class_ids, cut=np.s_[:, :], pool=oracles.class_vector):
    """Eq. 1 to 4 of the paper, from an image's maps or a region of them; 0 for a class without evidence.

    ``pool`` makes a vector of features and a normalised map, of the same cells.
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
    """Each of norm 1, whitened, of norm 1; 0 stays 0."""
    projection = np.asarray(whitening.projection, np.float64) / np.sqrt(np.asarray(whitening.eigenvalues, np.float64))
    mean = np.asarray(whitening.mean, np.float64)
    zero = np.zeros(projection.shape[1])
    return np.stack([oracles.descriptor([one], mean, projection) if one.any() else zero for one in vectors])


def class_vectors(index, rows):
    """[rows, classes, d] in float64 as they are stored, and the steps [rows, classes] that they are rounded to."""
    store = ClassVectorStore(index.places().vectors)
    runs = store.vectors(np.asarray(rows, np.int64), np.arange(len(store.layout.classes)))
    values, scales = runs.values[runs.positions], runs.scales[runs.positions]
    return (values.astype(np.float64) * scales[..., None]).swapaxes(0, 1), scales.T


def assert_whole(test, index):
    """An index has exactly its folder's pictures and their maps, a compact one no maps."""
    _, entries, _ = index.snapshot()
    files = {path.relative_to(index.root).as_posix() for path in index.root.rglob("*.png")}
    test.assertEqual({entry.path for entry in entries}, files)
    maps = MapStore(maps_location(index.folder, index.settings))
    kept = set() if index.settings.compact else {entry.content for entry in entries}
    test.assertEqual(maps.names(), kept)


def assert_same(test, index, expected):
    """Two indexes of one folder hold the same pictures, descriptors and class vectors, and find the same."""
    assert_whole(test, index)
    _, found, descriptors = index.snapshot()
    _, entries, wanted = expected.snapshot()

    def contents(pictures):
        return [(one.path, one.content, one.size, one.width, one.height) for one in pictures]

    test.assertEqual(contents(found), contents(entries))
    np.testing.assert_allclose(descriptors, wanted, atol=1e-6)
    vectors, steps = class_vectors(index, [entry.row for entry in found])
    again, _ = class_vectors(expected, [entry.row for entry in entries])
    test.assertLessEqual(np.max(np.abs(vectors - again) - 1.001 * steps[..., None]), 0)
    searchers = Searcher(index), Searcher(expected)
    ways = [QueryConfig(), QueryConfig(rerank=4)] if index.settings.compact else [QueryConfig(), QueryConfig("ona")]
    for options in ways:
        hits, others = (
            searcher.search(searcher.describe(searcher.prepare_indexed(found[0].path)), options, count=len(found))
            for searcher in searchers
        )
        np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in others], atol=1e-4)
        test.assertEqual({hit.entry.path for hit in hits}, {hit.entry.path for hit in others})
        best = {hit.entry.content for hit in hits if hit.score > hits[0].score - 1e-4}
        test.assertIn(found[0].content, best)


class IndexCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)

    def draw(self, *seeds):
        for seed in seeds:
            draw(self.root / f"{seed}.png", seed)

    def make(self, *seeds, settings=SETTINGS):
        return make(self.root, seeds, settings)

    def paths(self, index):
        return [entry.path for entry in index.snapshot().entries]

    def assert_update(self, found, **numbers):
        self.assertEqual(found, dataclasses.replace(NOTHING, **numbers))

    def class_rows(self, index):
        return ClassVectorStore(index.generation() / "vectors").length
