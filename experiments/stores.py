"""What a smaller class-vector store costs online aggregation in mAP: types, dimensions, numbers of classes.

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

from cwcf_jax import store
from cwcf_jax.arrays import l2_normalize, quantize
from cwcf_jax.descriptors import Whitening
from cwcf_jax.evaluation import benchmark, compare
from cwcf_jax.search import online
from cwcf_jax.search.pipeline import SearchConfig
from cwcf_jax.store import PooledRows
from experiments import driver, evaluation, inputs, methods, run_flags, tables
from experiments.driver import Outcome
from experiments.inputs import Inputs
from experiments.results import Row

BATCH = 32
"""Images that are whitened together."""


@dataclasses.dataclass(frozen=True)
class Kept:
    """A reduced store: its whitening, and how it is laid out."""

    whitening: Whitening
    layout: store.Layout

    @property
    def method(self) -> str:
        """As results files call it."""
        return f"OnA, {self.layout.dtype}"


def define_flags(values: FlagValues) -> None:
    """Defines what is measured."""
    run_flags.define_flags(values)
    flags.DEFINE_integer("nc", 64, "N_C.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("npca", 1, "N_pca.", lower_bound=1, flag_values=values)
    flags.DEFINE_list("dims", ["256", "128", "64"], "Dimensions below the protocol's.", flag_values=values)
    flags.DEFINE_list("classes", ["500", "250", "100"], "Numbers of classes that are kept.", flag_values=values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """OnA in full precision, then over a store of each kind, written for it and removed again."""
    del folder
    given = inputs.prepare(stack, run_flags.from_flags(values))
    classes = given.model.network.spec.num_classes
    count, npca = min(values.nc, classes), min(values.npca, classes)
    (exact,) = evaluation.evaluate(given, methods.online(given, (count,), npca), [SearchConfig()])
    rows: list[Row] = [exact]
    dims, class_counts = (tuple(map(int, texts)) for texts in (values.dims, values.classes))
    chosen = variants(given, npca, dims, class_counts)
    full = 4 * classes * chosen[0].layout.dim
    lines: list[list[tables.Cell]] = [["float32", chosen[0].layout.dim, classes, full, f"{exact.map:.4f}", None, None]]
    for kept in chosen:
        row = search(given, kept, count, npca)
        gain = compare(row.per_query, exact.per_query)
        layout = kept.layout
        line: list[tables.Cell] = [layout.dtype, layout.dim, len(layout.classes), layout.image_bytes]
        interval = tables.interval(gain.low, gain.high)
        lines.append([*line, f"{row.map:.4f}", f"{gain.difference:+.4f}", interval])
        rows.append(row)
    columns = ["type", "dim", "classes", "bytes an image", "mAP", "difference", "95 %"]
    return Outcome(
        title=driver.heading(given, "Class-vector stores"),
        conditions=driver.conditions(given),
        rows=rows,
        tables=[tables.Table(f"Online aggregation over a store, N_C {count}, N_pca {npca}", columns, lines)],
        notes=["Classes that are kept are those most often among the 64 most probable ones of the benchmark's images."],
        left_out=given.left_out,
    )


def variants(given: Inputs, npca: int, dims: Sequence[int], class_counts: Sequence[int]) -> list[Kept]:
    """Both types at full size; then int8 of fewer dimensions, and of fewer classes."""
    config = given.protocol.whitening_config()
    whitening = benchmark.fit_on_classes(given.whitening, config, npca)
    everything = tuple(range(given.model.network.spec.num_classes))
    found = [Kept(whitening, store.Layout(everything, whitening.dim, dtype)) for dtype in ("float16", "int8")]
    for dim in sorted({dim for dim in dims if dim < whitening.dim}, reverse=True):
        fewer = benchmark.fit_on_classes(given.whitening, dataclasses.replace(config, dim=dim), npca)
        found.append(Kept(fewer, store.Layout(everything, fewer.dim, "int8")))
    images = [dataclasses.replace(given.database, queries=None)]
    most = benchmark.frequent_classes(images, count=len(everything))
    for count in sorted({count for count in class_counts if count < len(everything)}, reverse=True):
        classes = tuple(np.sort(most[:count]).tolist())
        found.append(Kept(whitening, store.Layout(classes, whitening.dim, "int8")))
    return found


def search(given: Inputs, kept: Kept, count: int, npca: int) -> Row:
    """Every query over a store of this kind, under the best of its classes that the store holds."""
    images, queries = given.database.images, given.queries
    place = tempfile.mkdtemp(prefix="class_vectors_")
    try:
        fill(place, images, kept)
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
    return dataclasses.replace(row, dim=kept.layout.dim, paper=None)


def fill(place: str, images: PooledRows, kept: Kept) -> None:
    """Writes the class vectors of pooled rows, whitened and as the layout keeps them."""
    classes = np.array(kept.layout.classes)
    with store.ClassVectorWriter(place, {}, kept.layout) as writer:
        for start in range(0, images.length, BATCH):
            rows = np.arange(start, min(start + BATCH, images.length))
            vectors = [scale.class_vectors(rows, classes) for scale in images.scales]
            embedded = benchmark.sum_scales(vectors, kept.whitening)
            if kept.layout.dtype == "int8":
                writer.append(*(np.asarray(part) for part in quantize(embedded)))
            else:
                writer.append(np.asarray(embedded.astype(jnp.float16)))


PROGRAM = driver.program("stores", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
