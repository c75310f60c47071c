"""This module holds what tests of re-ranking share: stored maps drawn at random, and a slow reference in float64."""

import functools
import pathlib

import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

import cwcf_jax
from cwcf_jax.search import reranking
from cwcf_jax.search.reranking import RegionConfig
from cwcf_jax.store import MapStore
from tests.descriptors.regions_test import flooded_box, traced_box
from tests.support import oracles
from tests.support.packages import package
from tests.training import tiny

BOXES = {"component": flooded_box, "contour": traced_box}
CLASSES = np.array([3, 8, 1, 0, 9, 4, 2])
CONFIG = RegionConfig(num_classes=4)


@functools.cache
def make_model(**options):
    """Makes a model with positive weights, so that thresholds matter; the third class has no evidence anywhere."""
    network = tiny.network(num_labels=10)
    params = network.initialize(0)
    kernel = jnp.abs(params["classifier"]["kernel"]).at[:, CLASSES[2]].multiply(-1.0)
    return cwcf_jax.load(network, params | {"classifier": params["classifier"] | {"kernel": kernel}}, **options)


@functools.cache
def make_whitening():
    return cwcf_jax.fit_pca_whitening(np.random.default_rng(5).random((40, 6)), dim=4)


def blurred(random, shape, bias=0.0):
    """Draws maps that are positive in patches, so that regions shrink with the threshold; a lower bias gives fewer."""
    noise = random.normal(size=shape)
    for axis in (0, 1):
        noise = noise + np.roll(noise, 1, axis) + np.roll(noise, -1, axis)
    return np.maximum(noise + bias, 0.0)


def best_region(model, maps, query, whitening, config):
    """Finds the best region of one image as in section 4.5; returns score, vector, box and index of the threshold."""
    features, cam_features = (np.asarray(maps[name], np.float64) for name in ("features", "cam_features"))
    kernel = np.asarray(model.params["classifier"]["kernel"], np.float64)
    cams = []
    for c in CLASSES[: max(config.num_classes, config.heat_classes)]:
        cam = cam_features @ kernel[:, c]
        cam = oracles.min_max(cam) if cam.max() > 0 else np.zeros_like(cam)
        if cam.shape != features.shape[:2]:
            cam = package("cv2").resize(cam, features.shape[1::-1])
        cams.append(cam)
    heat = np.mean(cams[: config.heat_classes], axis=0)
    mean = projection = None
    if whitening is not None:
        mean = np.asarray(whitening.mean, np.float64)
        projection = np.asarray(whitening.projection, np.float64) / np.sqrt(np.asarray(whitening.eigenvalues))
    best = -np.inf, np.zeros(len(query)), (0, 0, 0, 0), None
    for i, fraction in enumerate(config.fractions):
        x1, y1, x2, y2 = BOXES[config.rule](heat > fraction * heat.max())
        if min(x2 - x1, y2 - y1) < config.minimum:
            continue
        cut = slice(y1, y2), slice(x1, x2)
        vectors = [oracles.class_vector(features[cut], cam[cut]) for cam in cams[: config.num_classes]]
        present = [vector for vector in vectors if vector.any()]
        vector = oracles.descriptor(present, mean, projection) if present else np.zeros(len(query))
        score = vector @ np.asarray(query, np.float64)
        if score > best[0]:
            best = score, vector, (x1, y1, x2, y2), i
    return best


def count_images(store):
    """Counts the images with maps."""
    return len(list(store.location.glob("*.npz")))


class StoredCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.random = np.random.default_rng(0)

    def store(self, pictures):
        """Writes the maps of each picture to a store in float16."""
        folder = pathlib.Path(self.create_tempdir().full_path) / "maps"
        store = MapStore(folder, dtype="float16")
        for row, (features, cam_features) in enumerate(pictures):
            store.write(row, features=features, cam_features=cam_features)
        return store

    def pictures(self, shapes, channels=6, step=1):
        """Draws features and CAM features; each cell of the CAM features spans ``step`` cells of the features."""
        return [
            (
                blurred(self.random, (height * step, width * step, channels)),
                blurred(self.random, (height, width, 8), -4.0),
            )
            for height, width in shapes
        ]

    def find(self, store, query, *, rows=None, model=None, whitening=None, config=CONFIG):
        rows = np.arange(count_images(store)) if rows is None else np.asarray(rows)
        query = jnp.asarray(query, jnp.float32)
        return reranking.best_regions(model or make_model(), store.read, rows, query, CLASSES, whitening, config)
