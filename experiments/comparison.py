"""The methods of Table 2: the paper's own, and those it compares with."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from absl import flags
from jaxtyping import Array
from tqdm import tqdm

from cwcf_jax import baselines, store
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder import Extractor
from cwcf_jax.images import Batch, read_size
from cwcf_jax.search import alpha_expansion, mean_vector, rank, similarities
from experiments import evaluation, inputs, layer_passes, methods, published
from experiments.evaluation import Described, Postprocessing, Ranked
from experiments.inputs import Inputs
from experiments.layer_passes import LayerPass
from experiments.results import Row

flags.adopt_module_key_flags(layer_passes)

ALL = ("SPoC", "uCroW", "CroW", "MAC", "GeM", "R-MAC", "BoW", "Razavian")
IN_TABLE_2B = ("CroW", "R-MAC", "BoW")

_METHODS = flags.DEFINE_list("methods", [*ALL, "OnA", "OfA"], "Which of the table's methods to run.")
_NC = flags.DEFINE_integer("nc", 64, "N_C of OnA and OfA.", lower_bound=1)
_NPCA = flags.DEFINE_integer("npca", 1, "N_pca of OnA and OfA.", lower_bound=1)
_WORDS = flags.DEFINE_integer("words", 25_000, "Vocabulary of the bags of words.", lower_bound=1)
_SAMPLE = flags.DEFINE_integer("sample", 3_000_000, "Local features that make it, at most.", lower_bound=1)
_VOCABULARY = flags.DEFINE_enum(
    "vocabulary",
    "whitening",
    ["whitening", "benchmark"],
    "Whose local features make the words: other sets' or its own.",
)
_PATCH_SIDE = flags.DEFINE_integer("patch_side", 576, "Pixels of a patch's side (Razavian et al.).", lower_bound=32)

Found = Iterator[tuple[Postprocessing, Ranked, int]]
"""A post-processing, the rankings under it, the length of a descriptor."""


def own(given: Inputs) -> Iterator[Described]:
    """OnA and OfA as the tables have them."""
    classes = given.model.network.spec.num_classes
    counts, npca = (min(_NC.value, classes),), min(_NPCA.value, classes)
    if "OnA" in _METHODS.value:
        yield methods.online(given, counts, npca)
    if "OfA" in _METHODS.value:
        yield methods.offline(given, counts, npca)


def others(given: Inputs, *, postprocessing: bool) -> list[Row]:
    """The methods that Table 2a compares with, or those of Table 2b after what their authors do."""
    known = [*ALL, "OnA", "OfA"]
    unknown = set(_METHODS.value) - set(known)
    if unknown:
        raise ValueError(f"--methods: unknown {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    rows: list[Row] = []
    for name in IN_TABLE_2B if postprocessing else ALL:
        if name not in _METHODS.value:
            continue
        if name == "BoW":
            layer, found = layer_passes.bags(given), _bags
        elif name == "Razavian":
            layer, found = layer_passes.patches(given), _patches
        else:
            layer, found = layer_passes.pooled(given), functools.partial(_pooled, name)
        network = layer.extractor.network.spec.name
        with contextlib.ExitStack() as stack:  # methods share stores, which one at a time may have open
            for step, ranked, dim in found(stack, layer, postprocessing=postprocessing):
                row = evaluation.row(given, name, None, None, step, ranked)
                paper = _published(layer, name, step)
                rows.append(dataclasses.replace(row, dim=dim, network=network, paper=paper))
    return rows


def _published(layer: LayerPass, method: str, step: Postprocessing) -> float | None:
    """The paper's value, whatever the protocol: these methods have settings of their own, and their own network."""
    untouched = all(
        flags.FLAGS[name].value == flags.FLAGS[name].default for name in ("words", "vocabulary", "patch_side")
    )
    if not untouched or not layer.is_published():
        return None
    dataset, network = layer.given.benchmark.name, layer.extractor.network.spec.name
    return published.mean_average_precision(
        dataset, network, method, nc=None, npca=None, qe=step.qe, rerank=step.rerank
    )


def _pooled(name: str, stack: contextlib.ExitStack, layer: LayerPass, *, postprocessing: bool) -> Found:
    method = baselines.POOLED[name]
    fields = baselines.pooled_fields(layer.extractor)
    compute = functools.partial(_pooled_rows, layer.extractor)
    images, queries, *fitted = layer.stores(stack, "pooled", fields, compute)
    whitening = _whitening(layer.given, [one.arrays[method.field][one.done] for one in fitted], method.dim)
    readable = np.flatnonzero(images.done)
    database = baselines.describe(np.asarray(images.arrays[method.field])[readable], whitening)
    asked = baselines.describe(np.asarray(queries.arrays[method.field]), whitening)
    search = _Search(layer.given, readable)
    yield Postprocessing(), search.ranked(lambda i: similarities(asked[i], database)), whitening.dim
    if postprocessing and name == "CroW":  # its expansion adds the query
        step = Postprocessing(qe=2 if inputs.smoke() else 10)

        def expanded(i: int) -> Array:
            order = rank(similarities(asked[i], database))
            query = alpha_expansion(asked[i], database, order, step.qe, alpha=0.0)
            return similarities(query, database)

        yield step, search.ranked(expanded), whitening.dim
    if postprocessing and name == "R-MAC":
        yield from _rmac_windows(stack, layer, search, asked, database, queries, whitening)


def _rmac_windows(
    stack: contextlib.ExitStack,
    layer: LayerPass,
    search: "_Search",
    asked: Array,
    database: Array,
    queries: store.RowStore,
    whitening: Whitening,
) -> Found:
    """Localisation in the best 1,000 images, then the mean of the query and its best 5, sorted anew among these."""
    step = Postprocessing(qe=2, rerank=4) if inputs.smoke() else Postprocessing(qe=5, rerank=1000)
    _, read = layer.maps(stack, layer.given.sources[0], "maps")
    rows = search.readable
    some = rows[np.linspace(0, len(rows) - 1, min(len(rows), 50)).astype(int)]
    unit = baselines.quantization_unit([read(int(i)) for i in some])
    windows = baselines.RmacWindows(lambda i: read(int(rows[i])), whitening, unit)
    maxima = np.asarray(queries.arrays["max"])
    ranked: Ranked = {}
    for i, query in enumerate(tqdm(layer.given.benchmark.queries, desc="R-MAC windows", unit="query", disable=None)):
        order = np.asarray(rank(similarities(asked[i], database)))
        top = order[: step.rerank]
        x1, y1, x2, y2 = query.box
        scores, vectors = windows.search(maxima[i], asked[i], (y2 - y1) / (x2 - x1), top)
        best = np.argsort(-scores, kind="stable")[: step.qe]
        mean = mean_vector(jnp.asarray(np.concatenate([vectors[best], np.asarray(asked[i])[None]])))
        again = np.argsort(-(vectors @ np.asarray(mean)), kind="stable")
        ranked[query.name] = rows[np.concatenate([top[again], order[step.rerank :]])].tolist()
    yield step, ranked, whitening.dim


def _bags(stack: contextlib.ExitStack, layer: LayerPass, *, postprocessing: bool) -> Found:
    given, first_source = layer.given, layer.given.sources[0]
    readable, read = layer.maps(stack, first_source, "maps")
    if _VOCABULARY.value == "benchmark":
        local, fitted_on = [read(int(row)) for row in readable], first_source.images.name
    else:
        others = [layer.maps(stack, source, "maps") for source in given.sources[1:]]
        local, fitted_on = [read_one(int(row)) for there, read_one in others for row in there], _names(given)
    config = dataclasses.replace(given.protocol.whitening_config(), dim=_dim(given, 512))
    count, sample = (20, 2000) if inputs.smoke() else (_WORDS.value, _SAMPLE.value)
    vocabulary = baselines.fit_vocabulary(local, config, count=count, sample=sample, fitted_on=fitted_on)
    bags = baselines.Bags(vocabulary, [vocabulary.assign(read(int(row))) for row in readable])
    _, read_query = layer.maps(stack, first_source, "maps", queries=True)
    queries = [vocabulary.assign(read_query(i)) for i in range(len(given.benchmark.queries))]
    boxes = [_cells(given, i, one.shape) for i, one in enumerate(queries)]
    search = _Search(given, readable)

    def first(i: int) -> np.ndarray:
        return bags.search(bags.histogram(queries[i], boxes[i]))

    yield Postprocessing(), search.ranked(first), count
    if not postprocessing:
        return
    step = Postprocessing(qe=2, rerank=4) if inputs.smoke() else Postprocessing(qe=10, rerank=100)

    def expanded(i: int) -> np.ndarray:
        top = np.argsort(-first(i), kind="stable")[: step.rerank]
        scores, histograms = bags.search_windows(queries[i], boxes[i], top)
        return bags.search(histograms[np.argsort(-scores, kind="stable")[: step.qe]].sum(axis=0))

    yield step, search.ranked(expanded), count


def _patches(stack: contextlib.ExitStack, layer: LayerPass, *, postprocessing: bool) -> Found:
    del postprocessing
    side = 64 if inputs.smoke() else _PATCH_SIDE.value
    fields = {"patches": (baselines.PATCHES, layer.extractor.dim)}
    compute = functools.partial(_patch_rows, layer.extractor, side)
    images, queries, *fitted = layer.stores(stack, f"patches{side}", fields, compute)
    whitening = _whitening(layer.given, [one.arrays["patches"][one.done] for one in fitted], 512)
    readable = np.flatnonzero(images.done)
    database = baselines.describe_patches(np.asarray(images.arrays["patches"])[readable], whitening)
    asked = baselines.describe_patches(np.asarray(queries.arrays["patches"]), whitening)
    ranked = _Search(layer.given, readable).ranked(lambda i: baselines.rank_patches(asked[i], database))
    patches = int(np.any(images.arrays["patches"][readable[0]] != 0, axis=1).sum())
    yield Postprocessing(), ranked, whitening.dim * patches


@dataclasses.dataclass(frozen=True)
class _Search:
    """Rankings of the readable images."""

    given: Inputs
    readable: np.ndarray

    def ranked(self, scores: Callable[[int], Array | np.ndarray]) -> Ranked:
        """Every query's ranking by the scores [n] it gives the readable images."""
        return {
            query.name: self.readable[np.argsort(-np.asarray(scores(i)), kind="stable")].tolist()
            for i, query in enumerate(self.given.benchmark.queries)
        }


def _pooled_rows(extractor: Extractor, batch: Batch, boxes: np.ndarray | None) -> dict[str, np.ndarray]:
    del boxes  # queries are cropped
    return baselines.pooled_rows(extractor, batch.images, batch.sizes)


def _patch_rows(extractor: Extractor, side: int, batch: Batch, boxes: np.ndarray | None) -> dict[str, np.ndarray]:
    del boxes  # queries are cropped
    return baselines.patch_rows(extractor, batch.images, batch.sizes, side)


def _whitening(given: Inputs, rows: Sequence[np.ndarray], dim: int) -> Whitening:
    vectors = np.concatenate([baselines.vectors(np.asarray(one)) for one in rows])
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
    x1, y1, x2, y2 = given.benchmark.queries[i].box
    rows = np.clip([np.floor(y1 * shape[0] / height), np.ceil(y2 * shape[0] / height)], 0, shape[0]).astype(int)
    columns = np.clip([np.floor(x1 * shape[1] / width), np.ceil(x2 * shape[1] / width)], 0, shape[1]).astype(int)
    rows[0], columns[0] = min(rows[0], shape[0] - 1), min(columns[0], shape[1] - 1)
    return np.array([columns[0], rows[0], max(columns[1], columns[0] + 1), max(rows[1], rows[0] + 1)])
