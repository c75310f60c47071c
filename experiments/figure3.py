"""Figure 3: the regions that a query's classes mark in other images, at each threshold, beside the ground truth.

python -m experiments.figure3 --dataset=FOLDER --whitening_dataset=FOLDER --weights=FILE --truth=boxes.json
"""

import contextlib
import json
import pathlib
from collections.abc import Sequence

import numpy as np
from absl import flags
from absl.flags import FlagValues

from cwcf_jax.evaluation import benchmark
from cwcf_jax.images import BenchmarkQuery, ImageSet, read_image
from cwcf_jax.search import reranking
from experiments import driver, inputs, run_flags, tables
from experiments.driver import Outcome, Picture

Item = tuple[int, int, tuple[float, float, float, float]]
"""A query, an image and the landmark's box in the image's pixels."""


Shown = tuple[np.ndarray, np.ndarray, tuple[float, ...], tuple[float, float, float, float], str]
"""Picture, regions [t, 4] in pixels, thresholds, the truth, the picture's name."""


def define_flags(values: FlagValues) -> None:
    """Defines what is measured."""
    run_flags.define_flags(values)
    text = (
        "JSON list of objects with file, kind (TP) and bbox, x1 y1 x2 y2 in pixels: where the landmarks are. Default: "
        "the boxes of the queries, which are shown in their own pictures."
    )
    flags.DEFINE_string("truth", None, text, flag_values=values)
    text = "Pictures to show, of different landmarks where there are as many."
    flags.DEFINE_integer("images", 6, text, lower_bound=1, flag_values=values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """One picture, figure3.png, and how well each threshold's region covers the truth."""
    from experiments import drawing

    given = inputs.prepare(stack, run_flags.from_flags(values))
    maps = inputs.open_maps(stack, given)
    items = annotated(given.benchmark, values.truth)
    config = given.protocol.region_config().limited_to(given.model.network.spec.num_labels)
    classes = benchmark.top_classes(given.queries, config.heat_classes)
    overlaps: list[list[float]] = []
    shown: dict[str, list[Shown]] = {}
    for query, image, truth in items:
        inputs.fill_maps(given, maps, np.array([image]))
        stored = maps.read(image)
        batch = reranking.stack_maps([stored], stored["features"].shape[:2], stored["cam_features"].shape[:2])
        cells = reranking.find_regions(given.model, batch, classes[query], config)[0]
        picture = read_image(given.benchmark.paths[image])
        boxes = in_pixels(cells, stored["features"].shape[:2], picture.shape[:2])
        overlaps.append([overlap(box, truth) for box in boxes])
        landmark = given.benchmark.queries[query].name.rpartition("_")[0]
        shown.setdefault(landmark, []).append((picture, boxes, config.fractions, truth, given.benchmark.names[image]))
    chosen = spread(list(shown.values()), 2 if given.run.smoke else values.images)
    drawing.region_figure(folder / "figure3.png", chosen)
    table = np.array(overlaps)
    lines: list[list[tables.Cell]] = [
        [f"{100 * fraction:g} %", f"{table[:, i].mean():.3f}", f"{(table[:, i] >= 0.5).mean():.3f}"]
        for i, fraction in enumerate(config.fractions)
    ]
    lines.append(["best of them", f"{table.max(axis=1).mean():.3f}", f"{(table.max(axis=1) >= 0.5).mean():.3f}"])
    return Outcome(
        title=driver.heading(given, "Figure 3"),
        conditions=driver.conditions(given),
        tables=[
            tables.Table(
                f"Overlap with the ground truth in {len(items)} images",
                ["threshold", "intersection over union", "share at least .5"],
                lines,
            )
        ],
        pictures=[Picture("figure3.png", "Regions of interest at each threshold; the ground truth is green.")],
        left_out=given.left_out,
    )


def annotated(images: ImageSet, truth: str | None) -> list[Item]:
    """Images whose landmark's box is known, each under the first query that it is right for."""
    if truth is None:
        return [(i, q.image, q.box) for i, q in enumerate(images.queries) if q.image is not None]
    boxes = read_truth(pathlib.Path(truth))
    place = {pathlib.PurePath(name).stem: i for i, name in enumerate(images.names)}
    found = []
    for file, box in boxes.items():
        image = place.get(pathlib.PurePath(file).stem)
        query = next((i for i, q in enumerate(images.queries) if image in q.positives and not _same(q, image)), None)
        if image is not None and query is not None:
            found.append((query, image, box))
    if not found:
        raise ValueError(f"--truth: {truth} names no picture of the dataset that is right for a query")
    return found


def read_truth(path: pathlib.Path) -> dict[str, tuple[float, float, float, float]]:
    """The largest true box of each file; ValueError names what is wrong."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        found: dict[str, tuple[float, float, float, float]] = {}
        for entry in entries:
            x1, y1, x2, y2 = (float(value) for value in entry["bbox"])
            if entry["kind"] == "TP" and _area((x1, y1, x2, y2)) > _area(found.get(entry["file"], (0, 0, 0, 0))):
                found[entry["file"]] = (x1, y1, x2, y2)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"--truth: {path} is not a list of objects with file, kind and bbox ({error})") from error
    return found


def in_pixels(cells: np.ndarray, shape: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Boxes [t, 4] of a map of ``shape`` in an image of ``size``."""
    scale = np.array([size[1] / shape[1], size[0] / shape[0]] * 2)
    return cells * scale


def overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    common = max(0.0, float(width)) * max(0.0, float(height))
    return common / (_area(first) + _area(second) - common)


def spread(groups: list[list[Shown]], count: int) -> list[Shown]:
    """Items of as many groups as there are, the first ones first."""
    ordered = [group[i] for i in range(max(map(len, groups))) for group in groups if i < len(group)]
    return ordered[:count]


def _area(box: Sequence[float]) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _same(query: BenchmarkQuery, image: int | None) -> bool:
    return query.image == image


PROGRAM = driver.program("figure3", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
