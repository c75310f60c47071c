"""What was compiled ahead is what a call needs: nothing is compiled after it."""

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

COMPILED = "/jax/core/compile/backend_compile_duration"
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
with ahead_test.events() as called:
    encoder.encode(model, images, num_classes=3, whitening=whitening)
assert ahead_test.COMPILED not in called
"""


@contextlib.contextmanager
def events():
    """The names of what JAX reports while the context lasts."""
    found = []

    def listen(event, duration, **_):
        del duration
        found.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
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
    def test_the_call_that_follows_compiles_nothing(self, function, options, more):
        jax.clear_caches()
        images = np.random.default_rng(1).integers(0, 256, (2, 50, 100, 3), np.uint8)
        with events() as ahead:
            encoder.compile_ahead(function, _model(), images.shape[:3], **options, boxes=bool(more))
        self.assertIn(COMPILED, ahead)
        with events() as called:
            found = function(_model(), images, **options, **more)
        self.assertNotIn(COMPILED, called)
        jax.clear_caches()
        again = function(_model(), images, **options, **more)
        jax.tree.map(np.testing.assert_array_equal, found, again)

    def test_with_a_whitening(self):
        """Without the type checks of the tests, which JAX's own use of a `Whitening` does not pass."""
        done = subprocess.run([sys.executable, "-c", WHITENED], cwd=ROOT, capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_another_function(self):
        with self.assertRaisesRegex(ValueError, "heat_maps is no pass that can be compiled ahead"):
            encoder.compile_ahead(encoder.heat_maps, _model(), (1, 50, 50), num_classes=1)


if __name__ == "__main__":
    absltest.main()
