"""The paper's own methods and its baselines of Table 1a: descriptors for a list of settings."""

import itertools
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from tqdm import tqdm

from cwcf_jax.descriptors import Whitening
from cwcf_jax.evaluation import MethodDescriptors, benchmark
from experiments.inputs import Inputs


def raw(given: Inputs) -> Iterator[MethodDescriptors]:
    """Sum-pooled features, with and without channel weights and whitening (Table 1a)."""
    config = given.protocol.whitening_config()
    for weighted, whitened in itertools.product((False, True), (False, True)):
        method = "Raw" + "+CroW" * weighted + "+PCA" * whitened
        whitening = benchmark.fit_on_raw(given.whitening, config, channel_weighting=weighted) if whitened else None
        images = benchmark.describe_raw(given.database.images, whitening, channel_weighting=weighted)
        queries = benchmark.describe_raw(given.queries, whitening, channel_weighting=weighted)
        yield MethodDescriptors(method, (None,), None, queries[None], [images[None]] * len(queries))


def offline(given: Inputs, counts: Sequence[int], npca: int, *, second: bool = False) -> MethodDescriptors:
    """OfA: every image under its own most probable classes.

    Args:
        given: the benchmark after its passes.
        counts: values of N_C.
        npca: N_pca.
        second: whether images are described under the queries' classes as well, for a second look at the best.
    """
    whitening = benchmark.fit_on_classes(given.whitening, given.protocol.whitening_config(), npca)
    queries = benchmark.describe(given.queries, whitening, tuple(counts), repeat=_repeat(given))
    images = benchmark.describe(given.database.images, whitening, tuple(counts), repeat=_repeat(given))
    adapted = _adapted(given, counts, npca, whitening) if second else None
    return MethodDescriptors("OfA", tuple(counts), npca, queries, [images] * queries.shape[1], whitening, adapted)


def online(given: Inputs, counts: Sequence[int], npca: int) -> MethodDescriptors:
    """OnA: every image under the query's most probable classes."""
    whitening = benchmark.fit_on_classes(given.whitening, given.protocol.whitening_config(), npca)
    queries = benchmark.describe(given.queries, whitening, tuple(counts), repeat=_repeat(given))
    adapted = _adapted(given, counts, npca, whitening)
    return MethodDescriptors("OnA", tuple(counts), npca, queries, adapted, whitening)


def predefined(given: Inputs, counts: Sequence[int], npca: int, classes: np.ndarray) -> MethodDescriptors:
    """OfA under a list of classes that is the same for all images (section 4.3)."""
    whitening = benchmark.fit_on_classes(given.whitening, given.protocol.whitening_config(), npca, classes)
    queries = benchmark.describe(given.queries, whitening, tuple(counts), classes, repeat=_repeat(given))
    images = benchmark.describe(given.database.images, whitening, tuple(counts), classes, repeat=_repeat(given))
    return MethodDescriptors("Predefined", tuple(counts), npca, queries, [images] * queries.shape[1], whitening)


def _adapted(given: Inputs, counts: Sequence[int], npca: int, whitening: Whitening) -> Iterator[jax.Array]:
    """The images' descriptors under each query's classes, one query after another."""
    classes = benchmark.top_classes(given.queries, max(counts))
    adapted = tqdm(
        benchmark.describe_online(given.database.images, whitening, tuple(counts), classes, repeat=_repeat(given)),
        total=len(classes),
        desc=f"OnA, N_pca {npca}",
        unit="query",
        disable=None,
    )
    return iter(adapted)


def _repeat(given: Inputs) -> bool:
    return given.protocol.bad_vectors == "repeat"
