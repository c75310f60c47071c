"""This driver compares whitenings: fitted on some of a collection's own pictures, and fitted on other pictures.

python -m experiments.own_whitening --dataset=oxford5k --whitening_dataset=paris6k --weights=FILE

All whitenings are measured by offline aggregation: none; the protocol's, fitted on the whitening datasets; those of
--files; and whitenings of growing samples of the benchmark's own images, with and without shrinkage.
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
from experiments import driver, evaluation, run_flags, tables
from experiments.driver import Outcome
from experiments.inputs import Inputs, prepare
from experiments.results import Row


def define_flags(values: FlagValues) -> None:
    """Defines the flags of the driver."""
    run_flags.define_flags(values)
    flags.DEFINE_integer("nc", 64, "N_C.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("npca", 32, "N_pca.", lower_bound=1, flag_values=values)
    text = "Numbers of images in the samples; a sample of all images follows."
    flags.DEFINE_list("images", ["10", "30", "100", "300"], text, flag_values=values)
    flags.DEFINE_list("ratios", ["0", "0.2", "0.5"], "Values of the shrinkage, 0 to 1.", flag_values=values)
    text = "Whitening files of `experiments.fit_whitening` to measure, or `shipped` for the whitening in the library."
    flags.DEFINE_list("files", [], text, flag_values=values)
    flags.DEFINE_integer("samples", 5, "Random samples of each size.", lower_bound=1, flag_values=values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """Measures all whitenings, and returns a table of their mAP."""
    del folder
    inputs = prepare(stack, run_flags.from_flags(values))
    classes = inputs.model.network.spec.num_labels
    nc, npca = min(values.nc, classes), min(values.npca, classes)
    config = inputs.protocol.whitening_config()
    plain_row = search(inputs, "OfA, not whitened", nc, None, None)
    others_row = search(inputs, "OfA", nc, npca, benchmark.fit_on_classes(inputs.whitening, config, npca))
    rows: list[Row] = [plain_row, others_row]
    lines: list[list[tables.Cell]] = [
        ["none", None, None, plain_row.dim, f"{plain_row.map:.4f}", "", ""],
        ["other datasets", None, None, others_row.dim, f"{others_row.map:.4f}", "", _gain_text(others_row, plain_row)],
    ]
    for name in values.files:
        row = search(inputs, f"OfA, {name}", nc, None, whitening_of(inputs, name))
        rows.append(row)
        lines.append([name, None, None, row.dim, f"{row.map:.4f}", "", _gain_text(row, plain_row)])
    vectors = class_vectors(inputs, npca)
    for images in [*sorted({int(text) for text in values.images if int(text) < len(vectors)}), len(vectors)]:
        for ratio in map(float, values.ratios):
            whitening_config = WhiteningConfig("shrinkage" if ratio else "pca", config.dim, ratio)
            sample_rows = [
                search(inputs, f"OfA, own {images}, shrunk by {ratio:g}", nc, npca, whitening_config.fit(sample, "own"))
                for sample in samples(vectors, images, values.samples)
            ]
            rows += sample_rows
            maps = [row.map for row in sample_rows]
            median = sample_rows[int(np.argsort(maps)[len(maps) // 2])]
            map_range = f"{min(maps):.4f} to {max(maps):.4f}" if len(maps) > 1 else ""
            lines.append(
                ["own", images, ratio, median.dim, f"{median.map:.4f}", map_range, _gain_text(median, plain_row)]
            )
    columns = ["fitted on", "images", "shrinkage", "dim", "mAP (median)", "lowest to highest", "gain over no whitening"]
    return Outcome(
        title=driver.heading(inputs, "Whitenings fitted on the images themselves"),
        conditions=driver.conditions(inputs),
        rows=rows,
        tables=[tables.Table(f"Offline aggregation, N_C {nc}, N_pca {npca}", columns, lines)],
        left_out=inputs.left_out,
    )


def whitening_of(inputs: Inputs, name: str) -> Whitening:
    """Returns the whitening in a file, or the ``shipped`` one; ValueError if it is not for the run's class vectors."""
    if name == "shipped":
        return encoder.shipped_whitening(inputs.model)
    whitening, record = whitenings.read(pathlib.Path(name))
    network, settings = inputs.model.network.spec.name, encoder.vector_settings(inputs.model.config)
    if record.network != network or record.encoder != settings:
        raise ValueError(
            f"--files={name} is for {record.network} with {record.encoder}, not for {network} with {settings}"
        )
    return whitening


def search(inputs: Inputs, method: str, nc: int, npca: int | None, whitening: Whitening | None) -> Row:
    """Returns the row of offline aggregation under one whitening."""
    queries = benchmark.describe(inputs.queries, whitening, (nc,))
    images = benchmark.describe(inputs.database.images, whitening, (nc,))
    descriptors = MethodDescriptors(method, (nc,), npca, queries, [images] * queries.shape[1], whitening)
    (row,) = evaluation.evaluate(inputs, descriptors, [SearchConfig()])
    return dataclasses.replace(row, dim=int(queries.shape[-1]), paper=None)


def class_vectors(inputs: Inputs, npca: int) -> np.ndarray:
    """Returns the class vectors of each image's most probable classes, [n, npca, k], with norm 1."""
    images = inputs.database.images
    rows = np.flatnonzero(images.done)
    classes = benchmark.top_classes(images, npca)[rows]
    return np.asarray(l2_normalize(jnp.asarray(images.class_vectors(rows, classes))))


def samples(vectors: np.ndarray, images: int, count: int) -> list[np.ndarray]:
    """Returns the class vectors [s, k] of ``count`` random samples of images, or once those of all images."""
    if images == len(vectors):
        return [vectors.reshape(-1, vectors.shape[-1])]
    return [
        vectors[np.random.default_rng(seed).permutation(len(vectors))[:images]].reshape(-1, vectors.shape[-1])
        for seed in range(count)
    ]


def _gain_text(row: Row, other: Row) -> str:
    """Returns the gain of a row over another one, with its 95 % interval."""
    gain = compare(row.per_query, other.per_query)
    interval = "" if gain.low is None else f" ({gain.low:+.3f} to {gain.high:+.3f})"
    return f"{gain.difference:+.4f}{interval}"


PROGRAM = driver.program("own_whitening", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
