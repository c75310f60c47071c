"""This driver fits a whitening on folders of pictures, and writes the whitening and a record of it as one small file.

    python -m experiments.fit_whitening --network=efficientnet_lite2 --whitening_dataset=FOLDER --licences="CC BY 4.0"

The file is NETWORK.npz in --output. It contains the mean, the directions (float16) and their variances, and says which
network and pictures the whitening is for. The whitening is fitted on the class vectors of the --npca most probable
classes of each picture, under --protocol (default: best). The shipped whitenings are in cwcf_jax/weights/fitted;
docs/collections.md has the commands that made them.
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
from experiments import data, driver, protocol_flags, run_flags, tables
from experiments.driver import Outcome
from experiments.inputs import Inputs, extract


def define_flags(values: FlagValues) -> None:
    """Defines the flags of the driver."""
    run_flags.define_flags(values)
    flags.DEFINE_integer("npca", 32, "N_pca, class vectors of each picture.", lower_bound=1, flag_values=values)
    text = "Licence of the pictures of each --whitening_dataset, in the same order, for the record; default: unknown."
    flags.DEFINE_list("licences", [], text, flag_values=values)
    text = "Type of the directions in the file; float32 takes twice the bytes of float16."
    flags.DEFINE_enum("matrix", "float16", ["float16", "float32"], text, flag_values=values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """Fits the whitening, writes it, and returns a table of the datasets that it was fitted on."""
    if values["dataset"].present:
        raise ValueError(
            "this driver measures nothing: name the pictures by --whitening_dataset, and leave --dataset out"
        )
    run = run_flags.from_flags(values)
    run = dataclasses.replace(run, protocol=protocol_flags.chosen(values, default=protocol.BEST))
    names = run.whitening_datasets
    if values.licences and len(values.licences) != len(names):
        raise ValueError(
            f"--licences has {len(values.licences)} entries for {len(names)} of --whitening_dataset; give one for each"
        )
    sources = [data.read(name, cache=run.cache, data_dir=run.data_dir, smoke=run.smoke) for name in names]
    inputs = extract(stack, run, sources)
    npca = min(values.npca, inputs.model.network.spec.num_labels)
    whitening = fit(inputs, npca)
    whitening_record = record(inputs, npca, values.licences or ["unknown"] * len(names))
    file = folder / f"{whitening_record.network}.npz"
    whitenings.write(file, whitening, whitening_record, dtype=values.matrix)
    lines: list[list[tables.Cell]] = [[entry.name, entry.images, entry.licence] for entry in whitening_record.data]
    return Outcome(
        title=driver.heading(inputs, "Whitening fitted"),
        conditions=driver.conditions(inputs),
        tables=[tables.Table("Fitted on", ["dataset", "pictures", "licence"], lines)],
        notes=[f"{file}: {whitening.dim} dimensions, {file.stat().st_size} bytes"],
        extra={"record": dataclasses.asdict(whitening_record)},
        left_out=inputs.left_out,
    )


def fit(inputs: Inputs, npca: int) -> Whitening:
    """Fits the whitening on the most probable classes of every picture, and of every query region of a benchmark."""
    return benchmark.fit_on_classes((inputs.database, *inputs.whitening), inputs.protocol.whitening_config(), npca)


def record(inputs: Inputs, npca: int, licences: list[str]) -> WhiteningRecord:
    """Returns the record of the file; pictures that could not be read are not counted."""
    config = inputs.protocol.whitening_config()
    datasets = inputs.database, *inputs.whitening
    return WhiteningRecord(
        network=inputs.model.network.spec.name,
        params=networks.fingerprint_params(inputs.model.params),
        weights=inputs.weights_sha256,
        encoder=encoder.vector_settings(inputs.model.config),
        resize=str(inputs.extraction.resize),
        classes=npca,
        shrinkage=config.shrinkage if config.kind == "shrinkage" else None,
        data=tuple(
            FittingImages(rows.name, int(rows.images.done.sum()), str(facts["sha256"]), licence)
            for rows, facts, licence in zip(datasets, inputs.data, licences, strict=True)
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
