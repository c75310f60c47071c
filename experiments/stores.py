"""What keeping less costs in mAP: class vectors of other types, dimensions and classes, or regions instead of maps.

python -m experiments.stores --dataset=oxford5k --whitening_dataset=paris6k --weights=FILE
"""

import contextlib
import dataclasses
import pathlib
import shutil
import tempfile
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from absl import flags
from absl.flags import FlagValues

from cwcf_jax import encoder, store
from cwcf_jax.arrays import dequantize, l2_normalize, quantize
from cwcf_jax.descriptors import Whitening
from cwcf_jax.evaluation import benchmark, compare
from cwcf_jax.search import online, reranking, similarities
from cwcf_jax.search.pipeline import SearchConfig
from cwcf_jax.store import PooledRows
from experiments import driver, evaluation, inputs, methods, run_flags, tables
from experiments.driver import Outcome
from experiments.inputs import Inputs
from experiments.results import Row

BATCH = 32
"""Images that are whitened together."""


@dataclasses.dataclass(frozen=True)
class StoreVariant:
    """A reduced store: its whitening, and how it is laid out."""

    whitening: Whitening
    layout: store.StoreConfig

    @property
    def method(self) -> str:
        """As results files call it."""
        return f"OnA, {self.layout.dtype}" + (f", own {self.layout.own}" if self.layout.own else "")


def define_flags(values: FlagValues) -> None:
    """Defines what is measured."""
    run_flags.define_flags(values)
    flags.DEFINE_integer("nc", 64, "N_C.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("npca", 1, "N_pca.", lower_bound=1, flag_values=values)
    flags.DEFINE_list("dims", ["256", "128", "64"], "Dimensions below the protocol's.", flag_values=values)
    flags.DEFINE_list("classes", ["500", "250", "100"], "Numbers of classes that are kept.", flag_values=values)
    text = "Numbers of each image's own most probable classes that are kept."
    flags.DEFINE_list("own", ["256", "128", "64", "32"], text, flag_values=values)
    text = "Best images by OfA that are ranked anew by regions, from maps and as a compact index keeps them; 0: none."
    flags.DEFINE_integer("rerank", 0, text, lower_bound=0, flag_values=values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """OnA in full precision, then over a store of each kind, written for it and removed again."""
    del folder
    given = inputs.prepare(stack, run_flags.from_flags(values))
    classes = given.model.network.spec.num_labels
    count, npca = min(values.nc, classes), min(values.npca, classes)
    (exact,) = evaluation.evaluate(given, methods.online(given, (count,), npca), [SearchConfig()])
    rows: list[Row] = [exact]
    dims, class_counts, own = (tuple(map(int, texts)) for texts in (values.dims, values.classes, values.own))
    chosen = variants(given, npca, dims, class_counts, own)
    full = 4 * classes * chosen[0].layout.dim
    first: list[tables.Cell] = ["float32", chosen[0].layout.dim, classes, None, full, f"{exact.map:.4f}", None, None]
    lines: list[list[tables.Cell]] = [first]
    for kept in chosen:
        row, size = search(given, kept, count, npca)
        gain = compare(row.per_query, exact.per_query)
        layout = kept.layout
        line: list[tables.Cell] = [layout.dtype, layout.dim, len(layout.classes), layout.own or None, size]
        interval = tables.interval(gain.low, gain.high)
        lines.append([*line, f"{row.map:.4f}", f"{gain.difference:+.4f}", interval])
        rows.append(row)
    columns = ["type", "dim", "classes", "own", "bytes an image", "mAP", "difference", "95 %"]
    found = [tables.Table(f"Online aggregation over a store, N_C {count}, N_pca {npca}", columns, lines)]
    if values.rerank:
        compact_rows, table = compare_regions(given, inputs.open_maps(stack, given), count, npca, values.rerank)
        rows += compact_rows
        found.append(table)
    return Outcome(
        title=driver.heading(given, "Class-vector stores"),
        conditions=driver.conditions(given),
        rows=rows,
        tables=found,
        notes=[
            "Classes that are kept are those most often among the 64 most probable ones of the benchmark's images.",
            "Bytes are of the store's files, its last fragment filled up.",
        ],
        left_out=given.left_out,
    )


def variants(
    given: Inputs, npca: int, dims: Sequence[int], class_counts: Sequence[int], own: Sequence[int]
) -> list[StoreVariant]:
    """Both types at full size; then int8 of fewer dimensions, of fewer classes, and of each image's own classes."""
    config = given.protocol.whitening_config()
    whitening = benchmark.fit_on_classes(given.whitening, config, npca)
    everything = tuple(range(given.model.network.spec.num_labels))
    found = [
        StoreVariant(whitening, store.StoreConfig(everything, whitening.dim, dtype)) for dtype in ("float16", "int8")
    ]
    for dim in sorted({dim for dim in dims if dim < whitening.dim}, reverse=True):
        fewer = benchmark.fit_on_classes(given.whitening, dataclasses.replace(config, dim=dim), npca)
        found.append(StoreVariant(fewer, store.StoreConfig(everything, fewer.dim, "int8")))
    images = [dataclasses.replace(given.database, queries=None)]
    most = benchmark.frequent_classes(images, count=len(everything))
    for count in sorted({count for count in class_counts if count < len(everything)}, reverse=True):
        classes = tuple(np.sort(most[:count]).tolist())
        found.append(StoreVariant(whitening, store.StoreConfig(classes, whitening.dim, "int8")))
    for count in sorted({count for count in own if 0 < count < len(everything)}, reverse=True):
        found.append(StoreVariant(whitening, store.StoreConfig(everything, whitening.dim, "int8", own=count)))
    return found


def search(given: Inputs, kept: StoreVariant, count: int, npca: int) -> tuple[Row, int]:
    """Every query over a store of this kind, under the best of its classes that the store holds; bytes an image."""
    images, queries = given.database.images, given.queries
    place = tempfile.mkdtemp(prefix="class_vectors_")
    try:
        fill(place, images, kept)
        files = (file for file in pathlib.Path(place).rglob("*") if file.is_file())
        size = sum(file.stat().st_size for file in files) // images.length
        asked = online.OnlineSearch(store.ClassVectorStore(place))
        readable = np.flatnonzero(images.done)
        found: dict[str, list[int]] = {}
        for i, classes in enumerate(benchmark.top_classes(queries, len(images.logits[0]))):
            ids = asked.available(classes, count)
            vectors = [scale.class_vectors(slice(i, i + 1), ids[None]) for scale in queries.scales]
            query = l2_normalize(jnp.sum(benchmark.sum_scales(vectors, kept.whitening)[0], axis=0))
            scores = asked.scores(query, ids)[readable]
            found[given.benchmark.queries[i].name] = readable[np.argsort(-scores, kind="stable")].tolist()
    finally:
        shutil.rmtree(place)
    row = evaluation.row(given, kept.method, count, npca, SearchConfig(), found)
    return dataclasses.replace(row, dim=kept.layout.dim, paper=None), size


def fill(place: str, images: PooledRows, kept: StoreVariant) -> None:
    """Writes the class vectors of pooled rows, whitened and as the layout keeps them."""
    classes = np.array(kept.layout.classes)
    with store.ClassVectorWriter(place, {}, kept.layout) as writer:
        for start in range(0, images.length, BATCH):
            rows = np.arange(start, min(start + BATCH, images.length))
            vectors = [scale.class_vectors(rows, classes) for scale in images.scales]
            embedded = benchmark.sum_scales(vectors, kept.whitening)
            if kept.layout.own:
                top = np.argsort(-images.logits[rows], axis=1, kind="stable")[:, : kept.layout.own]
                embedded = (
                    embedded * jnp.zeros(embedded.shape[:2]).at[np.arange(len(rows))[:, None], top].set(1)[..., None]
                )
            if kept.layout.dtype == "int8":
                writer.append(*(np.asarray(part) for part in quantize(embedded)))
            else:
                writer.append(np.asarray(embedded.astype(jnp.float16)))


def compare_regions(
    given: Inputs, maps: store.MapStore, count: int, npca: int, rerank: int
) -> tuple[list[Row], tables.Table]:
    """OfA; then the best images by regions from their maps, and by those regions that a compact index keeps."""
    described = methods.offline(given, (count,), npca)
    assert described.whitening is not None
    configs = [SearchConfig(), SearchConfig(rerank=rerank)]
    offline, from_maps = evaluation.evaluate(given, described, configs, maps)
    images = next(iter(described.databases))[0]
    readable = np.flatnonzero(given.database.images.done)
    inputs.fill_maps(given, maps, readable)
    kept: dict[int, np.ndarray] = {}
    for places, made in reranking.map_batches(maps.read, readable.tolist()):
        vectors = np.asarray(encoder.describe_grid(given.model, made, described.whitening, num_classes=count))
        values, scales = quantize(vectors[:, 1:])
        for i, place in enumerate(places):
            kept[int(readable[place])] = np.vstack([vectors[i, :1], dequantize(values[i], scales[i])])
    found: dict[str, list[int]] = {}
    for query, one in zip(described.queries[0], given.benchmark.queries, strict=True):
        order = readable[np.argsort(-np.asarray(similarities(query, images[readable])), kind="stable")]
        vectors = np.stack([kept[i] for i in order[:rerank].tolist()])
        scores = (vectors @ np.asarray(query)).max(axis=1)
        found[one.name] = [*order[:rerank][np.argsort(-scores, kind="stable")].tolist(), *order[rerank:].tolist()]
    compact = evaluation.row(given, "OfA, compact", count, npca, SearchConfig(rerank=rerank), found)
    compact = dataclasses.replace(compact, paper=None)
    dim = described.whitening.dim
    lines: list[list[tables.Cell]] = [["descriptors", 4 * dim, f"{offline.map:.4f}", None, None]]
    for row, what, size in (
        (from_maps, f"regions of the best {rerank}, from maps", None),
        (compact, f"regions of the best {rerank}, kept", 4 * dim + encoder.REGIONS * (dim + 4)),
    ):
        gain = compare(row.per_query, offline.per_query)
        interval = tables.interval(gain.low, gain.high)
        lines.append([what, size, f"{row.map:.4f}", f"{gain.difference:+.4f}", interval])
    columns = ["OfA", "bytes an image", "mAP", "difference", "95 %"]
    return [offline, from_maps, compact], tables.Table(f"Regions, N_C {count}, N_pca {npca}", columns, lines)


PROGRAM = driver.program("stores", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
