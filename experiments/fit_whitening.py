"""Fits a whitening on folders of pictures and writes it, with its record, as one small file.

    python -m experiments.fit_whitening --network=efficientnet_lite2 --whitening_dataset=FOLDER --licences="CC BY 4.0"

The file is NETWORK.npz in --output: the mean, the directions (float16) and their variances, and what it was fitted for
and on. It is fitted on the top --npca class vectors of each picture under --protocol (default: best). Those that ship
lie in cwcf_jax/weights/fitted; docs/collections.md has the commands that made them.
"""

import contextlib
import dataclasses
import pathlib
import platform

import jax
import numpy as np
from absl import flags
from absl.flags import FlagValues

import cwcf_jax
from cwcf_jax import encoder, networks
from cwcf_jax.descriptors import Whitening
from cwcf_jax.evaluation import benchmark, protocol
from cwcf_jax.weights import whitenings
from cwcf_jax.weights.whitenings import FittingImages, WhiteningRecord
from experiments import data, driver, inputs, protocol_flags, run_flags, tables
from experiments.driver import Outcome
from experiments.inputs import Inputs


def define_flags(values: FlagValues) -> None:
    """Defines what is fitted, and how it is written."""
    run_flags.define_flags(values)
    flags.DEFINE_integer("npca", 32, "N_pca, class vectors of each picture.", lower_bound=1, flag_values=values)
    text = "Licence of the pictures of each --whitening_dataset, in their order, for the record; default: unknown."
    flags.DEFINE_list("licences", [], text, flag_values=values)
    text = "How the directions are written; float32 takes twice the bytes."
    flags.DEFINE_enum("matrix", "float16", ["float16", "float32"], text, flag_values=values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """Fits, writes, and says what was written."""
    if values["dataset"].present:
        raise ValueError("nothing is measured here: name the pictures by --whitening_dataset and leave --dataset out")
    run = run_flags.from_flags(values)
    run = dataclasses.replace(run, protocol=protocol_flags.chosen(values, default=protocol.BEST))
    names = run.whitening_datasets
    if values.licences and len(values.licences) != len(names):
        raise ValueError(f"--licences names {len(values.licences)} of them for {len(names)} of --whitening_dataset")
    sources = [data.read(name, cache=run.cache, data_dir=run.data_dir, smoke=run.smoke) for name in names]
    given = inputs.extract(stack, run, sources)
    npca = min(values.npca, given.model.network.spec.num_labels)
    found = fit(given, npca)
    described = record(given, npca, values.licences or ["unknown"] * len(names))
    file = folder / f"{described.network}.npz"
    whitenings.write(file, found, described, dtype=values.matrix)
    lines: list[list[tables.Cell]] = [[one.name, one.images, one.licence] for one in described.data]
    return Outcome(
        title=driver.heading(given, "Whitening fitted"),
        conditions=driver.conditions(given),
        tables=[tables.Table("Fitted on", ["pictures of", "number", "licence"], lines)],
        notes=[f"{file}: {found.dim} dimensions, {file.stat().st_size} bytes"],
        more={"record": dataclasses.asdict(described)},
        left_out=given.left_out,
    )


def fit(given: Inputs, npca: int) -> Whitening:
    """On the top class vectors of every picture, and query region if there are any."""
    return benchmark.fit_on_classes((given.database, *given.whitening), given.protocol.whitening_config(), npca)


def record(given: Inputs, npca: int, licences: list[str]) -> WhiteningRecord:
    """What the file says of itself; pictures that could not be read are not counted."""
    config = given.protocol.whitening_config()
    collections = given.database, *given.whitening
    return WhiteningRecord(
        network=given.model.network.spec.name,
        params=networks.fingerprint_params(given.model.params),
        weights=given.weights,
        encoder=encoder.vector_settings(given.model.config),
        resize=str(given.extraction.resize),
        classes=npca,
        shrinkage=config.shrinkage if config.kind == "shrinkage" else None,
        data=tuple(
            FittingImages(collection.name, int(collection.images.done.sum()), str(described["sha256"]), licence)
            for collection, described, licence in zip(collections, given.data, licences, strict=True)
        ),
        versions={
            "cwcf_jax": cwcf_jax.__version__,
            "jax": jax.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    )


PROGRAM = driver.program("fit_whitening", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
