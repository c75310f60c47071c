"""The methods that Table 2 compares with, over the datasets of a run: passes, whitening, and what ranks the images."""

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

ALL = (*pooled.POOLED, "BoW", "Razavian")


@dataclasses.dataclass(frozen=True)
class MethodConfig:
    """Sizes that the authors of bags of words and of patch search chose.

    Attributes:
        words: in the vocabulary.
        sample: local features that the vocabulary is fitted on, at most.
        vocabulary: whose local features these are: ``whitening`` datasets', or the ``benchmark``'s own.
        patch_side: pixels of a patch's side.
        layers: what the methods look at.
    """

    words: int = 25_000
    sample: int = 3_000_000
    vocabulary: str = "whitening"
    patch_side: int = 576
    layers: LayerConfig = dataclasses.field(default_factory=LayerConfig)


@dataclasses.dataclass(frozen=True)
class PreparedMethod:
    """A method that is ready to search.

    Attributes:
        layer: whose maps it sees.
        readable: [n], the images that are ranked.
        dim: length of a descriptor.
        ranking: the number of a query and a post-processing -> rows of ``readable``, best first.
    """

    layer: LayerPass
    readable: np.ndarray
    dim: int
    ranking: Callable[[int, SearchConfig], np.ndarray]


def prepare(
    name: str, stack: contextlib.ExitStack, given: Inputs, config: MethodConfig, *, rerank: bool = False
) -> PreparedMethod:
    """One of `ALL`, after its network passes; ``rerank`` says whether R-MAC's maps are needed, too."""
    if name == "BoW":
        return _bag_of_words(stack, layer_passes.bags(given, config.layers), config)
    if name == "Razavian":
        return _patches(stack, layer_passes.patches(given, config.layers), config)
    return _pooled(name, stack, layer_passes.pooled(given, config.layers), rerank=rerank)


def _pooled(name: str, stack: contextlib.ExitStack, layer: LayerPass, *, rerank: bool) -> PreparedMethod:
    method = pooled.POOLED[name]
    compute = functools.partial(_pooled_rows, layer.extractor)
    images, queries, *fitted = layer.stores(stack, "pooled", pooled.pooled_fields(layer.extractor), compute)
    whitening = _whitening(layer.given, [store.arrays[method.field][store.done] for store in fitted], method.dim)
    readable = np.flatnonzero(images.done)
    search = PooledSearch(
        pooled.describe(np.asarray(queries.arrays[method.field]), whitening),
        pooled.describe(np.asarray(images.arrays[method.field])[readable], whitening),
    )

    def ranking(query: int, step: SearchConfig) -> np.ndarray:
        return np.asarray(search.ranking(query, expansion=step.expansion))

    if name == "R-MAC" and rerank:
        maxima = np.asarray(queries.arrays["max"])
        reranked = functools.partial(
            _reranked, search, _windows(stack, layer, readable, whitening), maxima, layer.given
        )
        return PreparedMethod(layer, readable, whitening.dim, reranked)
    return PreparedMethod(layer, readable, whitening.dim, ranking)


def _windows(
    stack: contextlib.ExitStack, layer: LayerPass, readable: np.ndarray, whitening: Whitening
) -> rmac.RmacWindows:
    _, read = layer.maps(stack, layer.given.sources[0], "maps")
    some = readable[np.linspace(0, len(readable) - 1, min(len(readable), 50)).astype(int)]
    unit = rmac.quantization_unit([read(int(i)) for i in some])
    return rmac.RmacWindows(lambda row: read(int(readable[row])), whitening, unit)


def _reranked(
    search: PooledSearch, windows: rmac.RmacWindows, maxima: np.ndarray, given: Inputs, query: int, step: SearchConfig
) -> np.ndarray:
    order = np.asarray(search.ranking(query))
    if not step.rerank:
        return order
    x1, y1, x2, y2 = given.benchmark.queries[query].box
    aspect = (y2 - y1) / (x2 - x1)
    return windows.rerank(
        order, maxima[query], search.queries[query], aspect, count=step.rerank, expansion=step.expansion
    )


def _bag_of_words(stack: contextlib.ExitStack, layer: LayerPass, config: MethodConfig) -> PreparedMethod:
    given, first = layer.given, layer.given.sources[0]
    readable, read = layer.maps(stack, first, "maps")
    if config.vocabulary == "benchmark":
        local, fitted_on = [read(int(row)) for row in readable], first.images.name
    else:
        others = [layer.maps(stack, source, "maps") for source in given.sources[1:]]
        local, fitted_on = [read_one(int(row)) for rows, read_one in others for row in rows], _names(given)
    whitening = dataclasses.replace(given.protocol.whitening_config(), dim=_dim(given, 512))
    vocabulary = bag_of_words.fit_vocabulary(
        local, whitening, count=config.words, sample=config.sample, fitted_on=fitted_on
    )
    bags = bag_of_words.BagOfWordsIndex(vocabulary.words, [vocabulary.assign(read(int(row))) for row in readable])
    _, read_query = layer.maps(stack, first, "maps", queries=True)
    queries = [vocabulary.assign(read_query(i)) for i in range(len(given.benchmark.queries))]
    boxes = [_cells(given, i, assignment.shape) for i, assignment in enumerate(queries)]

    def ranking(query: int, step: SearchConfig) -> np.ndarray:
        return bags.ranking(queries[query], boxes[query], rerank=step.rerank, expansion=step.expansion)

    return PreparedMethod(layer, readable, vocabulary.words, ranking)


def _patches(stack: contextlib.ExitStack, layer: LayerPass, config: MethodConfig) -> PreparedMethod:
    fields = {"patches": (patches.PATCHES, layer.extractor.dim)}
    compute = functools.partial(_patch_rows, layer.extractor, config.patch_side)
    images, queries, *fitted = layer.stores(stack, f"patches{config.patch_side}", fields, compute)
    whitening = _whitening(layer.given, [store.arrays["patches"][store.done] for store in fitted], patches.DIM)
    readable = np.flatnonzero(images.done)
    database = patches.describe_patches(np.asarray(images.arrays["patches"])[readable], whitening)
    described = patches.describe_patches(np.asarray(queries.arrays["patches"]), whitening)
    kept = int(np.any(images.arrays["patches"][readable[0]] != 0, axis=1).sum())

    def ranking(query: int, step: SearchConfig) -> np.ndarray:
        assert step == SearchConfig(), "patch search has no post-processing"
        return np.argsort(-np.asarray(patches.rank_patches(described[query], database)), kind="stable")

    return PreparedMethod(layer, readable, whitening.dim * kept, ranking)


def _pooled_rows(extractor: Extractor, batch: Batch, boxes: np.ndarray | None) -> dict[str, np.ndarray]:
    del boxes  # queries are cropped
    return pooled.pooled_rows(extractor, batch.images, batch.sizes)


def _patch_rows(extractor: Extractor, side: int, batch: Batch, boxes: np.ndarray | None) -> dict[str, np.ndarray]:
    del boxes  # queries are cropped
    return patches.patch_rows(extractor, batch.images, batch.sizes, side)


def _whitening(given: Inputs, rows: Sequence[np.ndarray], dim: int) -> Whitening:
    vectors = np.concatenate([pooled.unit_vectors(np.asarray(source_rows)) for source_rows in rows])
    config = dataclasses.replace(given.protocol.whitening_config(), dim=_dim(given, dim))
    return config.fit(vectors, _names(given))


def _dim(given: Inputs, dim: int) -> int:
    """What the method's authors keep, or the protocol's dimensions where those are fewer."""
    return min(dim, given.protocol.whitening_dim or dim)


def _names(given: Inputs) -> str:
    return " + ".join(source.images.name for source in given.sources[1:])


def _cells(given: Inputs, i: int, shape: tuple[int, int]) -> np.ndarray:
    """The box of a query in cells ``x1 y1 x2 y2`` of a map of its whole picture: every cell that it touches."""
    height, width = read_size(given.benchmark.query_pictures()[i])
    box = jnp.asarray(given.benchmark.queries[i].box, jnp.float32)
    return np.asarray(descriptors.touched_cells(box, jnp.array([height, width]), jnp.array(shape)))
