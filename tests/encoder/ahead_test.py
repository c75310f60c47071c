"""Tests of `compile_ahead`: the later call of the same pass compiles nothing."""

import contextlib
import functools
import pathlib
import subprocess
import sys

import jax
import numpy as np
from absl.testing import absltest, parameterized

import cwcf_jax
from cwcf_jax import encoder
from tests.training import tiny

COMPILATION_EVENT = "/jax/core/compile/backend_compile_duration"
ROOT = pathlib.Path(__file__).parents[2]

WHITENED = """
import numpy as np
import cwcf_jax
from cwcf_jax import encoder
from tests.encoder import ahead_test

model = ahead_test._model()
images = np.zeros((1, 50, 100, 3), np.uint8)
whitening = cwcf_jax.fit_pca_whitening(np.random.default_rng(0).random((60, model.feature_dim)), dim=4)
encoder.compile_ahead(encoder.encode, model, images.shape[:3], num_classes=3, whitening=whitening)
with ahead_test.events() as events_of_call:
    encoder.encode(model, images, num_classes=3, whitening=whitening)
assert ahead_test.COMPILATION_EVENT not in events_of_call
"""


@contextlib.contextmanager
def events():
    """Records the names of JAX's monitoring events until the block ends."""
    names = []

    def listen(event, duration, **_):
        del duration
        names.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@functools.cache
def _model():
    network = tiny.network(num_labels=11)
    return cwcf_jax.load(network, network.initialize(0))


class CompileAheadTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("encode", encoder.encode, {"num_classes": 3}, {}),
        ("class_vectors", encoder.class_vectors, {"class_ids": [1, 2]}, {}),
        ("pool", encoder.pool, {"class_ids": np.arange(11)}, {}),
        ("pool_regions", encoder.pool, {"num_classes": 2}, {"boxes": np.full((2, 4), [0, 0, 20, 20], np.float32)}),
        ("raw_features", encoder.raw_features, {}, {}),
        ("feature_maps", encoder.feature_maps, {}, {}),
    )
    def test_the_later_call_compiles_nothing(self, function, options, boxes):
        jax.clear_caches()
        images = np.random.default_rng(1).integers(0, 256, (2, 50, 100, 3), np.uint8)
        with events() as events_ahead:
            encoder.compile_ahead(function, _model(), images.shape[:3], **options, boxes=bool(boxes))
        self.assertIn(COMPILATION_EVENT, events_ahead)
        with events() as events_of_call:
            actual = function(_model(), images, **options, **boxes)
        self.assertNotIn(COMPILATION_EVENT, events_of_call)
        jax.clear_caches()
        expected = function(_model(), images, **options, **boxes)
        jax.tree.map(np.testing.assert_array_equal, actual, expected)

    def test_with_a_whitening(self):
        """Runs in a process without the tests' type checks, because JAX builds a `Whitening` of other types."""
        done = subprocess.run([sys.executable, "-c", WHITENED], cwd=ROOT, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_another_function_is_refused(self):
        with self.assertRaisesRegex(ValueError, "heat_maps is no pass that can be compiled ahead"):
            encoder.compile_ahead(encoder.heat_maps, _model(), (1, 50, 50), num_classes=1)


if __name__ == "__main__":
    absltest.main()
