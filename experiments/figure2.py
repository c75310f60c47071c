"""This driver draws Figure 2: class activation maps of the most probable class, for one or several networks.

python -m experiments.figure2 --dataset=FOLDER --weights=FILE --more_weights=FILE --images=4
"""

import contextlib
import dataclasses
import pathlib

import jax.numpy as jnp
import numpy as np
from absl import flags
from absl.flags import FlagValues

import cwcf_jax
from cwcf_jax import encoder, networks
from cwcf_jax.images import ImageSet, load_image
from cwcf_jax.images import Picture as Source
from experiments import driver, run_flags, tables
from experiments.driver import Outcome, Picture
from experiments.inputs import describe_data, load_model, read_datasets
from experiments.weights import weights_of


def define_flags(values: FlagValues) -> None:
    """Defines the flags of the driver."""
    run_flags.define_flags(values)
    flags.DEFINE_list("more_weights", [], "Weights of further networks; each network has a column.", flag_values=values)
    flags.DEFINE_integer(
        "images",
        5,
        "Number of pictures: those of the first queries of each landmark.",
        lower_bound=1,
        flag_values=values,
    )


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """Draws figure2.png, and returns the classes and probabilities as a table."""
    from experiments import drawing

    del stack
    run = run_flags.from_flags(values)
    resize = run.protocol.extraction(0).resize
    runs = [run, *map(run.of_weights, values.more_weights)]
    weights = [weights_of(network_run.weights, network_run.network) for network_run in runs]
    models = [load_model(*arguments) for arguments in zip(runs, weights, strict=True)]
    benchmark = read_datasets(run)[0].images
    rows: list[tuple[str, list[tuple[np.ndarray, str]]]] = []
    lines: list[list[tables.Cell]] = []
    for name, picture in pictures(benchmark, 2 if run.smoke else values.images):
        image, _ = load_image(picture, resize)
        cells = [top_class(model, image) for model in models]
        rows.append((name, [(image, ""), *((drawing.overlay(image, heat), title) for title, heat in cells)]))
        lines.append([name, *(title for title, _ in cells)])
    labels = [model.network.spec.name for model in models]
    fingerprints = [network_weights.fingerprint() for network_weights in weights]
    drawing.cam_grid(folder / "figure2.png", rows, columns=["input", *labels])
    return Outcome(
        title=f"Figure 2 on {benchmark.name}: {', '.join(labels)}",
        conditions={
            "network": labels[0],
            "weights_sha256": dict(zip(labels, fingerprints, strict=True)),
            "protocol": dataclasses.asdict(run.protocol),
            "data": [describe_data(benchmark, "")],
        },
        tables=[tables.Table("Most probable class and its probability", ["picture", *labels], lines)],
        pictures=[
            Picture("figure2.png", f"Photographs, and CAMs of their most probable classes: {', '.join(labels)}.")
        ],
    )


def pictures(benchmark: ImageSet, count: int) -> list[tuple[str, Source]]:
    """Returns the names and pictures of ``count`` queries, of as many landmarks as possible."""
    by_number = sorted(range(len(benchmark.queries)), key=lambda i: benchmark.queries[i].name.rpartition("_")[::-1])
    sources = benchmark.query_pictures()
    named_sources: dict[str, tuple[str, Source]] = {}
    for i in by_number:
        named_sources.setdefault(str(sources[i]), (benchmark.queries[i].name, sources[i]))
    return list(named_sources.values())[:count]


def top_class(model: cwcf_jax.Model, image: np.ndarray) -> tuple[str, np.ndarray]:
    """Returns ``name (probability)`` and the normalised map [h, w] of the most probable class of an image."""
    vectors = cwcf_jax.class_vectors(model, image[None], num_classes=1)
    maps = encoder.feature_maps(model, image[None])
    heat = np.asarray(encoder.heat_maps(model, maps, jnp.asarray(vectors.class_ids[0]))[0])
    height, width = np.asarray(maps.feature_size[0])
    name = networks.class_names(model.network.spec)[int(vectors.class_ids[0, 0])]
    return f"{name} ({float(vectors.probabilities[0, 0]):.2f})", heat[:height, :width]


PROGRAM = driver.program("figure2", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
