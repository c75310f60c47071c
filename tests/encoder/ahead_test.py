"""What was compiled ahead is what a call needs: nothing is compiled after it."""

import contextlib
import functools

import jax
import numpy as np
from absl.testing import absltest, parameterized

import cwcf_jax
from cwcf_jax import encoder
from tests.training import tiny

COMPILED = "/jax/core/compile/backend_compile_duration"
TRACED = "/jax/core/compile/jaxpr_trace_duration"


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
    network = tiny.network(num_classes=11)
    return cwcf_jax.load(network, network.initialize(0))


class CompileAheadTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("encode", encoder.encode, {"num_classes": 3}, {}),
        ("encode_whitened", encoder.encode, {"num_classes": 3}, {"whitening": True}),
        ("class_vectors", encoder.class_vectors, {"class_ids": [1, 2]}, {}),
        ("pool", encoder.pool, {"class_ids": np.arange(11)}, {}),
        ("pool_regions", encoder.pool, {"num_classes": 2}, {"boxes": True}),
        ("raw_features", encoder.raw_features, {}, {}),
        ("feature_maps", encoder.feature_maps, {}, {}),
    )
    def test_the_call_that_follows_compiles_nothing(self, function, options, more):
        jax.clear_caches()
        boxes, whitening = {}, {}
        if "boxes" in more:
            boxes = {"boxes": [[0.0, 0.0, 20.0, 20.0]] * 2}
        if "whitening" in more:
            random = np.random.default_rng(0)
            fitted = cwcf_jax.fit_pca_whitening(random.random((60, _model().feature_dim)), dim=4)
            whitening = {"whitening": fitted}
        images = np.random.default_rng(1).integers(0, 256, (2, 50, 100, 3), np.uint8)
        function(_model(), images[:1], **{**options, **whitening})  # the small things around a pass, at another shape
        with events() as ahead:
            encoder.compile_ahead(function, _model(), (2, 50, 100), **options, **whitening, boxes=bool(boxes))
        self.assertEqual(ahead.count(COMPILED), 1)
        with events() as called:
            found = function(_model(), images, **{**options, **whitening, **boxes})
        self.assertNotIn(COMPILED, called)
        jax.clear_caches()
        again = function(_model(), images, **{**options, **whitening, **boxes})
        jax.tree.map(np.testing.assert_array_equal, found, again)

    def test_another_function(self):
        with self.assertRaisesRegex(ValueError, "heat_maps is no pass that can be compiled ahead"):
            encoder.compile_ahead(encoder.heat_maps, _model(), (1, 50, 50))


if __name__ == "__main__":
    absltest.main()
