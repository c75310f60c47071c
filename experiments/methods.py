"""This module describes images and queries by the paper's own methods, and by the baselines of Table 1a."""

import itertools
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from tqdm import tqdm

from cwcf_jax.descriptors import Whitening
from cwcf_jax.evaluation import MethodDescriptors, benchmark
from experiments.inputs import Inputs


def raw(inputs: Inputs) -> Iterator[MethodDescriptors]:
    """Yields descriptors of sum-pooled features, with and without channel weights and whitening (Table 1a)."""
    config = inputs.protocol.whitening_config()
    for weighted, whitened in itertools.product((False, True), (False, True)):
        method = "Raw" + "+CroW" * weighted + "+PCA" * whitened
        whitening = benchmark.fit_on_raw(inputs.whitening, config, channel_weighting=weighted) if whitened else None
        images = benchmark.describe_raw(inputs.database.images, whitening, channel_weighting=weighted)
        queries = benchmark.describe_raw(inputs.queries, whitening, channel_weighting=weighted)
        yield MethodDescriptors(method, (None,), None, queries[None], [images[None]] * len(queries))


def offline(inputs: Inputs, counts: Sequence[int], npca: int, *, with_online: bool = False) -> MethodDescriptors:
    """Returns descriptors of OfA: every image is described under its own most probable classes.

    Args:
        inputs: the benchmark after its network passes.
        counts: values of N_C.
        npca: value of N_pca.
        with_online: whether the images are also described under the queries' classes, so that OnA can score the best
            images of OfA anew.
    """
    whitening = benchmark.fit_on_classes(inputs.whitening, inputs.protocol.whitening_config(), npca)
    queries = benchmark.describe(inputs.queries, whitening, tuple(counts), repeat=_repeats(inputs))
    images = benchmark.describe(inputs.database.images, whitening, tuple(counts), repeat=_repeats(inputs))
    online_images = _describe_online(inputs, counts, npca, whitening) if with_online else None
    return MethodDescriptors("OfA", tuple(counts), npca, queries, [images] * queries.shape[1], whitening, online_images)


def online(inputs: Inputs, counts: Sequence[int], npca: int) -> MethodDescriptors:
    """Returns descriptors of OnA: every image is described under the query's most probable classes."""
    whitening = benchmark.fit_on_classes(inputs.whitening, inputs.protocol.whitening_config(), npca)
    queries = benchmark.describe(inputs.queries, whitening, tuple(counts), repeat=_repeats(inputs))
    images = _describe_online(inputs, counts, npca, whitening)
    return MethodDescriptors("OnA", tuple(counts), npca, queries, images, whitening)


def predefined(inputs: Inputs, counts: Sequence[int], npca: int, classes: np.ndarray) -> MethodDescriptors:
    """Returns descriptors of OfA under a list of classes that is the same for all images (section 4.3)."""
    whitening = benchmark.fit_on_classes(inputs.whitening, inputs.protocol.whitening_config(), npca, classes)
    queries = benchmark.describe(inputs.queries, whitening, tuple(counts), classes, repeat=_repeats(inputs))
    images = benchmark.describe(inputs.database.images, whitening, tuple(counts), classes, repeat=_repeats(inputs))
    return MethodDescriptors("Predefined", tuple(counts), npca, queries, [images] * queries.shape[1], whitening)


def _describe_online(inputs: Inputs, counts: Sequence[int], npca: int, whitening: Whitening) -> Iterator[jax.Array]:
    """Yields the descriptors of all images under the classes of each query, one query after another."""
    classes = benchmark.top_classes(inputs.queries, max(counts))
    descriptors = tqdm(
        benchmark.describe_online(inputs.database.images, whitening, tuple(counts), classes, repeat=_repeats(inputs)),
        total=len(classes),
        desc=f"OnA, N_pca {npca}",
        unit="query",
        disable=None,
    )
    return iter(descriptors)


def _repeats(inputs: Inputs) -> bool:
    """Returns whether the protocol replaces a class vector without evidence by the class vector before it."""
    return inputs.protocol.bad_vectors == "repeat"
