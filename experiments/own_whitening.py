"""What a whitening is worth that is fitted on a few of a collection's own pictures, against one of other pictures.

python -m experiments.own_whitening --dataset=oxford5k --whitening_dataset=paris6k --weights=FILE

Offline aggregation without whitening, with the protocol's on the whitening datasets, with those of --files, and with
whitenings of growing samples of the benchmark's own images, plain and shrunk.
"""

import contextlib
import dataclasses
import pathlib

import jax.numpy as jnp
import numpy as np
from absl import flags
from absl.flags import FlagValues

from cwcf_jax import encoder
from cwcf_jax.arrays import l2_normalize
from cwcf_jax.descriptors import Whitening, WhiteningConfig
from cwcf_jax.evaluation import MethodDescriptors, benchmark, compare
from cwcf_jax.search.pipeline import SearchConfig
from cwcf_jax.weights import whitenings
from experiments import driver, evaluation, inputs, run_flags, tables
from experiments.driver import Outcome
from experiments.inputs import Inputs
from experiments.results import Row


def define_flags(values: FlagValues) -> None:
    """Defines what is measured."""
    run_flags.define_flags(values)
    flags.DEFINE_integer("nc", 64, "N_C.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("npca", 32, "N_pca.", lower_bound=1, flag_values=values)
    flags.DEFINE_list(
        "images", ["10", "30", "100", "300"], "Sizes of the samples; all images come last.", flag_values=values
    )
    flags.DEFINE_list("ratios", ["0", "0.2", "0.5"], "How far variances are drawn to their mean.", flag_values=values)
    text = "Files of `experiments.fit_whitening` that are applied as well, or `shipped`: the one in the library."
    flags.DEFINE_list("files", [], text, flag_values=values)
    flags.DEFINE_integer("samples", 5, "Random samples of each size.", lower_bound=1, flag_values=values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """Without, with the others', with its own."""
    del folder
    given = inputs.prepare(stack, run_flags.from_flags(values))
    classes = given.model.network.spec.num_labels
    count, npca = min(values.nc, classes), min(values.npca, classes)
    config = given.protocol.whitening_config()
    plain = search(given, "OfA, not whitened", count, None, None)
    others = search(given, "OfA", count, npca, benchmark.fit_on_classes(given.whitening, config, npca))
    rows: list[Row] = [plain, others]
    lines: list[list[tables.Cell]] = [
        ["none", None, None, plain.dim, f"{plain.map:.4f}", "", ""],
        ["other datasets", None, None, others.dim, f"{others.map:.4f}", "", _signed(others, plain)],
    ]
    for name in values.files:
        row = search(given, f"OfA, {name}", count, None, whitening_of(given, name))
        rows.append(row)
        lines.append([name, None, None, row.dim, f"{row.map:.4f}", "", _signed(row, plain)])
    vectors = class_vectors(given, npca)
    for images in [*sorted({int(text) for text in values.images if int(text) < len(vectors)}), len(vectors)]:
        for ratio in map(float, values.ratios):
            kind = WhiteningConfig("shrinkage" if ratio else "pca", config.dim, ratio)
            found = [
                search(given, f"OfA, own {images}, shrunk by {ratio:g}", count, npca, kind.fit(sample, "own"))
                for sample in samples(vectors, images, values.samples)
            ]
            rows += found
            maps = [row.map for row in found]
            mean = found[int(np.argsort(maps)[len(maps) // 2])]
            spread = f"{min(maps):.4f} to {max(maps):.4f}" if len(maps) > 1 else ""
            lines.append(["own", images, ratio, mean.dim, f"{mean.map:.4f}", spread, _signed(mean, plain)])
    columns = ["fitted on", "images", "shrunk by", "dim", "mAP (median)", "least to most", "gain over none"]
    return Outcome(
        title=driver.heading(given, "Whitenings fitted on the images themselves"),
        conditions=driver.conditions(given),
        rows=rows,
        tables=[tables.Table(f"Offline aggregation, N_C {count}, N_pca {npca}", columns, lines)],
        left_out=given.left_out,
    )


def whitening_of(given: Inputs, name: str) -> Whitening:
    """The whitening in a file, or ``shipped``; ValueError where it is for other class vectors than these."""
    if name == "shipped":
        return encoder.shipped_whitening(given.model)
    found, record = whitenings.read(pathlib.Path(name))
    if record.network != given.model.network.spec.name or record.encoder != encoder.vector_settings(given.model.config):
        raise ValueError(f"--files={name} is for {record.network} with {record.encoder}, not for these class vectors")
    return found


def search(given: Inputs, method: str, count: int, npca: int | None, whitening: Whitening | None) -> Row:
    """All queries by offline aggregation under one whitening."""
    queries = benchmark.describe(given.queries, whitening, (count,))
    images = benchmark.describe(given.database.images, whitening, (count,))
    described = MethodDescriptors(method, (count,), npca, queries, [images] * queries.shape[1], whitening)
    (row,) = evaluation.evaluate(given, described, [SearchConfig()])
    return dataclasses.replace(row, dim=int(queries.shape[-1]), paper=None)


def class_vectors(given: Inputs, npca: int) -> np.ndarray:
    """[n, npca, k], the unit vectors of each image's most probable classes."""
    images = given.database.images
    rows = np.flatnonzero(images.done)
    chosen = benchmark.top_classes(images, npca)[rows]
    return np.asarray(l2_normalize(jnp.asarray(images.class_vectors(rows, chosen))))


def samples(vectors: np.ndarray, images: int, count: int) -> list[np.ndarray]:
    """Class vectors of random images, several times; of all images once."""
    if images == len(vectors):
        return [vectors.reshape(-1, vectors.shape[-1])]
    return [
        vectors[np.random.default_rng(seed).permutation(len(vectors))[:images]].reshape(-1, vectors.shape[-1])
        for seed in range(count)
    ]


def _signed(row: Row, other: Row) -> str:
    found = compare(row.per_query, other.per_query)
    return f"{found.difference:+.4f} ({found.low:+.3f} to {found.high:+.3f})"


PROGRAM = driver.program("own_whitening", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
