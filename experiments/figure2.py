"""Figure 2: class activation maps of the most probable class, with its probability, for one or several networks.

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
from experiments import driver, inputs, run_flags, tables
from experiments.driver import Outcome, Picture
from experiments.weights import weights_of


def define_flags(values: FlagValues) -> None:
    """Defines what is measured."""
    run_flags.define_flags(values)
    flags.DEFINE_list("more_weights", [], "Weights of further networks, a column each.", flag_values=values)
    flags.DEFINE_integer(
        "images", 5, "Pictures to show: those of the first queries of each landmark.", lower_bound=1, flag_values=values
    )


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """One picture, figure2.png, and its numbers as a table."""
    from experiments import drawing

    del stack
    run = run_flags.from_flags(values)
    resize = run.protocol.extraction(0).resize
    runs = [run, *map(run.of_weights, values.more_weights)]
    chosen = [weights_of(one_run.weights, one_run.network) for one_run in runs]
    models = [inputs.load_model(*pair) for pair in zip(runs, chosen, strict=True)]
    benchmark = inputs.read_datasets(run)[0].images
    rows: list[tuple[str, list[tuple[np.ndarray, str]]]] = []
    lines: list[list[tables.Cell]] = []
    for name, picture in pictures(benchmark, 2 if run.smoke else values.images):
        image, _ = load_image(picture, resize)
        cells = [top_class(model, image) for model in models]
        rows.append((name, [(image, ""), *((drawing.overlay(image, heat), title) for title, heat in cells)]))
        lines.append([name, *(title for title, _ in cells)])
    labels = [model.network.spec.name for model in models]
    fingerprints = [one.fingerprint() for one in chosen]
    drawing.cam_grid(folder / "figure2.png", rows, columns=["input", *labels])
    return Outcome(
        title=f"Figure 2 on {benchmark.name}: {', '.join(labels)}",
        conditions={
            "network": labels[0],
            "weights_sha256": dict(zip(labels, fingerprints, strict=True)),
            "protocol": dataclasses.asdict(run.protocol),
            "data": [inputs.describe_data(benchmark, "")],
        },
        tables=[tables.Table("Most probable class and its probability", ["picture", *labels], lines)],
        pictures=[
            Picture("figure2.png", f"Input, then the class activation map of the top class: {', '.join(labels)}.")
        ],
    )


def pictures(benchmark: ImageSet, count: int) -> list[tuple[str, Source]]:
    """The pictures of queries, different landmarks first."""
    queries = sorted(range(len(benchmark.queries)), key=lambda i: benchmark.queries[i].name.rpartition("_")[::-1])
    sources = benchmark.query_pictures()
    found: dict[str, tuple[str, Source]] = {}
    for i in queries:
        found.setdefault(str(sources[i]), (benchmark.queries[i].name, sources[i]))
    return list(found.values())[:count]


def top_class(model: cwcf_jax.Model, image: np.ndarray) -> tuple[str, np.ndarray]:
    """``name (probability)`` and the normalised map [h, w] of the most probable class."""
    found = cwcf_jax.class_vectors(model, image[None], num_classes=1)
    maps = encoder.feature_maps(model, image[None])
    heat = np.asarray(encoder.heat_maps(model, maps, jnp.asarray(found.class_ids[0]))[0])
    height, width = np.asarray(maps.feature_size[0])
    name = networks.class_names(model.network.spec)[int(found.class_ids[0, 0])]
    return f"{name} ({float(found.probabilities[0, 0]):.2f})", heat[:height, :width]


PROGRAM = driver.program("figure2", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
