"""This module prepares the methods that Table 2 compares with: network passes, whitening, and ranking of images."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from cwcf_jax import descriptors
from cwcf_jax.baselines import bag_of_words, patches, pooled, rmac
from cwcf_jax.baselines.pooled import PooledSearch
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder import Extractor
from cwcf_jax.images import Batch, read_size
from cwcf_jax.search.pipeline import SearchConfig
from experiments import layer_passes
from experiments.inputs import Inputs
from experiments.layer_passes import LayerConfig, LayerPass

METHOD_NAMES = (*pooled.POOLED, "BoW", "Razavian")


@dataclasses.dataclass(frozen=True)
class MethodConfig:
    """A `MethodConfig` holds the sizes that the authors of bags of words and of patch search chose.

    Attributes:
        words: number of words in the vocabulary.
        sample: largest number of local features that the vocabulary is fitted on.
        vocabulary: images that it is fitted on, those of the ``whitening`` datasets or of the ``benchmark``.
        patch_side: side of a patch in pixels.
        layers: network and layers of the methods.
    """

    words: int = 25_000
    sample: int = 3_000_000
    vocabulary: str = "whitening"
    patch_side: int = 576
    layers: LayerConfig = dataclasses.field(default_factory=LayerConfig)


@dataclasses.dataclass(frozen=True)
class PreparedMethod:
    """A `PreparedMethod` is a method that is ready to search.

    Attributes:
        layer: network pass of the method.
        readable: [n], indices of the images that are ranked.
        dim: length of a descriptor.
        ranking: function of the index of a query and a search configuration; returns indices into ``readable``, best
            first.
    """

    layer: LayerPass
    readable: np.ndarray
    dim: int
    ranking: Callable[[int, SearchConfig], np.ndarray]


def prepare(
    name: str, stack: contextlib.ExitStack, inputs: Inputs, config: MethodConfig, *, rerank: bool = False
) -> PreparedMethod:
    """Returns one of `METHOD_NAMES` after its network passes; ``rerank`` says whether R-MAC's maps are needed, too."""
    if name == "BoW":
        return _bag_of_words(stack, layer_passes.bag_pass(inputs, config.layers), config)
    if name == "Razavian":
        return _patches(stack, layer_passes.patch_pass(inputs, config.layers), config)
    return _pooled(name, stack, layer_passes.pooled_pass(inputs, config.layers), rerank=rerank)


def _pooled(name: str, stack: contextlib.ExitStack, layer: LayerPass, *, rerank: bool) -> PreparedMethod:
    """Prepares a method that pools one vector from a whole picture: one of `pooled.POOLED`."""
    method = pooled.POOLED[name]
    compute = functools.partial(_pooled_rows, layer.extractor)
    images, queries, *fitting_stores = layer.stores(stack, "pooled", pooled.pooled_fields(layer.extractor), compute)
    fitting_rows = [store.arrays[method.field][store.done] for store in fitting_stores]
    whitening = _whitening(layer.inputs, fitting_rows, method.dim)
    readable = np.flatnonzero(images.done)
    search = PooledSearch(
        pooled.describe(np.asarray(queries.arrays[method.field]), whitening),
        pooled.describe(np.asarray(images.arrays[method.field])[readable], whitening),
    )

    def ranking(query: int, step: SearchConfig) -> np.ndarray:
        return np.asarray(search.ranking(query, expansion=step.expansion))

    if name == "R-MAC" and rerank:
        maxima = np.asarray(queries.arrays["max"])
        rerank_ranking = functools.partial(
            _rerank, search, _windows(stack, layer, readable, whitening), maxima, layer.inputs
        )
        return PreparedMethod(layer, readable, whitening.dim, rerank_ranking)
    return PreparedMethod(layer, readable, whitening.dim, ranking)


def _windows(
    stack: contextlib.ExitStack, layer: LayerPass, readable: np.ndarray, whitening: Whitening
) -> rmac.RmacWindows:
    """Returns R-MAC's search windows in the maps of the benchmark's images."""
    _, read = layer.maps(stack, layer.inputs.sources[0], "maps")
    sampled = readable[np.linspace(0, len(readable) - 1, min(len(readable), 50)).astype(int)]
    quantum = rmac.quantization_unit([read(int(i)) for i in sampled])
    return rmac.RmacWindows(lambda index: read(int(readable[index])), whitening, quantum)


def _rerank(
    search: PooledSearch, windows: rmac.RmacWindows, maxima: np.ndarray, inputs: Inputs, query: int, step: SearchConfig
) -> np.ndarray:
    """Returns R-MAC's ranking for a query, re-ranked by windows if ``step`` asks for that."""
    order = np.asarray(search.ranking(query))
    if not step.rerank:
        return order
    x1, y1, x2, y2 = inputs.benchmark.queries[query].box
    aspect = (y2 - y1) / (x2 - x1)
    return windows.rerank(
        order, maxima[query], search.queries[query], aspect, count=step.rerank, expansion=step.expansion
    )


def _bag_of_words(stack: contextlib.ExitStack, layer: LayerPass, config: MethodConfig) -> PreparedMethod:
    """Prepares bags of words."""
    inputs, source = layer.inputs, layer.inputs.sources[0]
    readable, read = layer.maps(stack, source, "maps")
    if config.vocabulary == "benchmark":
        features, fitted_on = [read(int(row)) for row in readable], source.images.name
    else:
        whitening_maps = [layer.maps(stack, dataset, "maps") for dataset in inputs.sources[1:]]
        features = [read_maps(int(row)) for rows, read_maps in whitening_maps for row in rows]
        fitted_on = _names(inputs)
    whitening = dataclasses.replace(inputs.protocol.whitening_config(), dim=_dim(inputs, 512))
    vocabulary = bag_of_words.fit_vocabulary(
        features, whitening, count=config.words, sample=config.sample, fitted_on=fitted_on
    )
    bags = bag_of_words.BagOfWordsIndex(vocabulary.words, [vocabulary.assign(read(int(row))) for row in readable])
    _, read_query = layer.maps(stack, source, "maps", queries=True)
    queries = [vocabulary.assign(read_query(i)) for i in range(len(inputs.benchmark.queries))]
    boxes = [_cells(inputs, i, assignment.shape) for i, assignment in enumerate(queries)]

    def ranking(query: int, step: SearchConfig) -> np.ndarray:
        return bags.ranking(queries[query], boxes[query], rerank=step.rerank, expansion=step.expansion)

    return PreparedMethod(layer, readable, vocabulary.words, ranking)


def _patches(stack: contextlib.ExitStack, layer: LayerPass, config: MethodConfig) -> PreparedMethod:
    """Prepares patch search (Razavian et al.)."""
    fields = {"patches": (patches.PATCHES, layer.extractor.dim)}
    compute = functools.partial(_patch_rows, layer.extractor, config.patch_side)
    images, queries, *fitting_stores = layer.stores(stack, f"patches{config.patch_side}", fields, compute)
    fitting_rows = [store.arrays["patches"][store.done] for store in fitting_stores]
    whitening = _whitening(layer.inputs, fitting_rows, patches.DIM)
    readable = np.flatnonzero(images.done)
    database = patches.describe_patches(np.asarray(images.arrays["patches"])[readable], whitening)
    query_patches = patches.describe_patches(np.asarray(queries.arrays["patches"]), whitening)
    count = int(np.any(images.arrays["patches"][readable[0]] != 0, axis=1).sum())

    def ranking(query: int, step: SearchConfig) -> np.ndarray:
        assert step == SearchConfig(), "patch search has no post-processing"
        return np.argsort(-np.asarray(patches.rank_patches(query_patches[query], database)), kind="stable")

    return PreparedMethod(layer, readable, whitening.dim * count, ranking)


def _pooled_rows(extractor: Extractor, batch: Batch, boxes: np.ndarray | None) -> dict[str, np.ndarray]:
    """Returns the pooled rows of a batch."""
    del boxes  # queries are cropped
    return pooled.pooled_rows(extractor, batch.images, batch.sizes)


def _patch_rows(extractor: Extractor, side: int, batch: Batch, boxes: np.ndarray | None) -> dict[str, np.ndarray]:
    """Returns the patch vectors of a batch."""
    del boxes  # queries are cropped
    return patches.patch_rows(extractor, batch.images, batch.sizes, side)


def _whitening(inputs: Inputs, rows: Sequence[np.ndarray], dim: int) -> Whitening:
    """Fits a whitening on rows of the whitening datasets."""
    vectors = np.concatenate([pooled.unit_vectors(np.asarray(source_rows)) for source_rows in rows])
    config = dataclasses.replace(inputs.protocol.whitening_config(), dim=_dim(inputs, dim))
    return config.fit(vectors, _names(inputs))


def _dim(inputs: Inputs, dim: int) -> int:
    """Returns the dimensions that the method's authors keep, or the protocol's dimensions if those are fewer."""
    return min(dim, inputs.protocol.whitening_dim or dim)


def _names(inputs: Inputs) -> str:
    """Returns the names of the whitening datasets."""
    return " + ".join(source.images.name for source in inputs.sources[1:])


def _cells(inputs: Inputs, i: int, shape: tuple[int, int]) -> np.ndarray:
    """Returns all cells ``x1 y1 x2 y2`` that a query's box touches in a map of its whole picture."""
    height, width = read_size(inputs.benchmark.query_pictures()[i])
    box = jnp.asarray(inputs.benchmark.queries[i].box, jnp.float32)
    return np.asarray(descriptors.touched_cells(box, jnp.array([height, width]), jnp.array(shape)))
