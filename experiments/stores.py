"""This driver measures the mAP of smaller stores: class vectors of other types, dimensions and classes, and regions.

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
from experiments import driver, evaluation, methods, run_flags, tables
from experiments.driver import Outcome
from experiments.inputs import Inputs, fill_maps, open_maps, prepare
from experiments.results import Row

WHITENING_BATCH = 32
"""The number of images that are whitened together."""


@dataclasses.dataclass(frozen=True)
class StoreVariant:
    """A `StoreVariant` is a kind of class-vector store: its whitening and its layout."""

    whitening: Whitening
    layout: store.StoreConfig

    @property
    def method(self) -> str:
        """Returns the name of the method in results files."""
        return f"OnA, {self.layout.dtype}" + (f", own {self.layout.own}" if self.layout.own else "")


def define_flags(values: FlagValues) -> None:
    """Defines the flags of the driver."""
    run_flags.define_flags(values)
    flags.DEFINE_integer("nc", 64, "N_C.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("npca", 1, "N_pca.", lower_bound=1, flag_values=values)
    flags.DEFINE_list("dims", ["256", "128", "64"], "Dimensions, fewer than the protocol's.", flag_values=values)
    flags.DEFINE_list("classes", ["500", "250", "100"], "Numbers of classes that are stored.", flag_values=values)
    text = "Numbers of most probable classes of each image that are stored."
    flags.DEFINE_list("own", ["256", "128", "64", "32"], text, flag_values=values)
    text = "Number of best images of OfA to re-rank by regions, from maps and as a compact index stores them; 0: none."
    flags.DEFINE_integer("rerank", 0, text, lower_bound=0, flag_values=values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """Measures OnA in full precision, and over a temporary store of each kind."""
    del folder
    inputs = prepare(stack, run_flags.from_flags(values))
    classes = inputs.model.network.spec.num_labels
    nc, npca = min(values.nc, classes), min(values.npca, classes)
    (exact,) = evaluation.evaluate(inputs, methods.online(inputs, (nc,), npca), [SearchConfig()])
    rows: list[Row] = [exact]
    dims, class_counts, own = (tuple(map(int, texts)) for texts in (values.dims, values.classes, values.own))
    store_variants = variants(inputs, npca, dims, class_counts, own)
    full_dim = store_variants[0].layout.dim
    full_bytes = 4 * classes * full_dim
    exact_line: list[tables.Cell] = ["float32", full_dim, classes, None, full_bytes, f"{exact.map:.4f}", None, None]
    lines: list[list[tables.Cell]] = [exact_line]
    for variant in store_variants:
        row, image_bytes = search(inputs, variant, nc, npca)
        gain = compare(row.per_query, exact.per_query)
        layout = variant.layout
        line: list[tables.Cell] = [layout.dtype, layout.dim, len(layout.classes), layout.own or None, image_bytes]
        interval = tables.interval(gain.low, gain.high)
        lines.append([*line, f"{row.map:.4f}", f"{gain.difference:+.4f}", interval])
        rows.append(row)
    columns = ["type", "dim", "classes", "own", "bytes per image", "mAP", "difference", "95 %"]
    store_tables = [tables.Table(f"Online aggregation over a store, N_C {nc}, N_pca {npca}", columns, lines)]
    if values.rerank:
        compact_rows, table = compare_regions(inputs, open_maps(stack, inputs), nc, npca, values.rerank)
        rows += compact_rows
        store_tables.append(table)
    return Outcome(
        title=driver.heading(inputs, "Class-vector stores"),
        conditions=driver.conditions(inputs),
        rows=rows,
        tables=store_tables,
        notes=[
            "Stored classes are those that are most often among the 64 most probable ones of the benchmark's images.",
            "Bytes are those of the store's files, with padding of the last shard.",
        ],
        left_out=inputs.left_out,
    )


def variants(
    inputs: Inputs, npca: int, dims: Sequence[int], class_counts: Sequence[int], own: Sequence[int]
) -> list[StoreVariant]:
    """Returns both types at full size, then int8 with fewer dimensions, fewer classes, and own classes only."""
    config = inputs.protocol.whitening_config()
    whitening = benchmark.fit_on_classes(inputs.whitening, config, npca)
    all_classes = tuple(range(inputs.model.network.spec.num_labels))
    store_variants = [
        StoreVariant(whitening, store.StoreConfig(all_classes, whitening.dim, dtype)) for dtype in ("float16", "int8")
    ]
    for dim in sorted({dim for dim in dims if dim < whitening.dim}, reverse=True):
        smaller = benchmark.fit_on_classes(inputs.whitening, dataclasses.replace(config, dim=dim), npca)
        store_variants.append(StoreVariant(smaller, store.StoreConfig(all_classes, smaller.dim, "int8")))
    images = [dataclasses.replace(inputs.database, queries=None)]
    by_frequency = benchmark.frequent_classes(images, count=len(all_classes))
    for count in sorted({count for count in class_counts if count < len(all_classes)}, reverse=True):
        classes = tuple(np.sort(by_frequency[:count]).tolist())
        store_variants.append(StoreVariant(whitening, store.StoreConfig(classes, whitening.dim, "int8")))
    for count in sorted({count for count in own if 0 < count < len(all_classes)}, reverse=True):
        store_variants.append(StoreVariant(whitening, store.StoreConfig(all_classes, whitening.dim, "int8", own=count)))
    return store_variants


def search(inputs: Inputs, variant: StoreVariant, nc: int, npca: int) -> tuple[Row, int]:
    """Searches for every query in a store of one kind, under the most probable stored classes of the query.

    Returns:
        The row of the setting, and the bytes per image of the store.
    """
    images, queries = inputs.database.images, inputs.queries
    folder = tempfile.mkdtemp(prefix="class_vectors_")
    try:
        fill(folder, images, variant)
        files = (file for file in pathlib.Path(folder).rglob("*") if file.is_file())
        image_bytes = sum(file.stat().st_size for file in files) // images.length
        online_search = online.OnlineSearch(store.ClassVectorStore(folder))
        readable = np.flatnonzero(images.done)
        rankings: dict[str, list[int]] = {}
        for i, classes in enumerate(benchmark.top_classes(queries, len(images.logits[0]))):
            ids = online_search.available(classes, nc)
            vectors = [scale.class_vectors(slice(i, i + 1), ids[None]) for scale in queries.scales]
            query = l2_normalize(jnp.sum(benchmark.sum_scales(vectors, variant.whitening)[0], axis=0))
            scores = online_search.scores(query, ids)[readable]
            rankings[inputs.benchmark.queries[i].name] = readable[np.argsort(-scores, kind="stable")].tolist()
    finally:
        shutil.rmtree(folder)
    row = evaluation.row(inputs, variant.method, nc, npca, SearchConfig(), rankings)
    return dataclasses.replace(row, dim=variant.layout.dim, paper=None), image_bytes


def fill(folder: str, images: PooledRows, variant: StoreVariant) -> None:
    """Writes the class vectors of pooled rows to a store, whitened and in the layout of the variant."""
    classes = np.array(variant.layout.classes)
    with store.ClassVectorWriter(folder, {}, variant.layout) as writer:
        for start in range(0, images.length, WHITENING_BATCH):
            rows = np.arange(start, min(start + WHITENING_BATCH, images.length))
            vectors = [scale.class_vectors(rows, classes) for scale in images.scales]
            embedded = benchmark.sum_scales(vectors, variant.whitening)
            if variant.layout.own:
                top = np.argsort(-images.logits[rows], axis=1, kind="stable")[:, : variant.layout.own]
                embedded = (
                    embedded * jnp.zeros(embedded.shape[:2]).at[np.arange(len(rows))[:, None], top].set(1)[..., None]
                )
            if variant.layout.dtype == "int8":
                writer.append(*(np.asarray(part) for part in quantize(embedded)))
            else:
                writer.append(np.asarray(embedded.astype(jnp.float16)))


def compare_regions(
    inputs: Inputs, maps: store.MapStore, nc: int, npca: int, rerank: int
) -> tuple[list[Row], tables.Table]:
    """Measures OfA, and re-ranking of its best images by regions from maps and by regions of a compact index."""
    descriptors = methods.offline(inputs, (nc,), npca)
    assert descriptors.whitening is not None
    configs = [SearchConfig(), SearchConfig(rerank=rerank)]
    offline, from_maps = evaluation.evaluate(inputs, descriptors, configs, maps)
    images = next(iter(descriptors.databases))[0]
    readable = np.flatnonzero(inputs.database.images.done)
    fill_maps(inputs, maps, readable)
    regions: dict[int, np.ndarray] = {}
    for indices, maps_batch in reranking.map_batches(maps.read, readable.tolist()):
        vectors = np.asarray(encoder.describe_grid(inputs.model, maps_batch, descriptors.whitening, num_classes=nc))
        values, scales = quantize(vectors[:, 1:])
        for i, index in enumerate(indices):
            regions[int(readable[index])] = np.vstack([vectors[i, :1], dequantize(values[i], scales[i])])
    rankings: dict[str, list[int]] = {}
    for query, benchmark_query in zip(descriptors.queries[0], inputs.benchmark.queries, strict=True):
        order = readable[np.argsort(-np.asarray(similarities(query, images[readable])), kind="stable")]
        vectors = np.stack([regions[i] for i in order[:rerank].tolist()])
        scores = (vectors @ np.asarray(query)).max(axis=1)
        rankings[benchmark_query.name] = [
            *order[:rerank][np.argsort(-scores, kind="stable")].tolist(),
            *order[rerank:].tolist(),
        ]
    compact = evaluation.row(inputs, "OfA, compact", nc, npca, SearchConfig(rerank=rerank), rankings)
    compact = dataclasses.replace(compact, paper=None)
    dim = descriptors.whitening.dim
    lines: list[list[tables.Cell]] = [["descriptors", 4 * dim, f"{offline.map:.4f}", None, None]]
    for row, description, image_bytes in (
        (from_maps, f"regions of the best {rerank}, from maps", None),
        (compact, f"regions of the best {rerank}, stored", 4 * dim + encoder.NUM_GRID_REGIONS * (dim + 4)),
    ):
        gain = compare(row.per_query, offline.per_query)
        interval = tables.interval(gain.low, gain.high)
        lines.append([description, image_bytes, f"{row.map:.4f}", f"{gain.difference:+.4f}", interval])
    columns = ["OfA", "bytes per image", "mAP", "difference", "95 %"]
    return [offline, from_maps, compact], tables.Table(f"Regions, N_C {nc}, N_pca {npca}", columns, lines)


PROGRAM = driver.program("stores", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
