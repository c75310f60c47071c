"""This driver draws Figure 3: regions of interest in other images, at each threshold, and the ground truth.

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
from experiments import driver, run_flags, tables
from experiments.driver import Outcome, Picture
from experiments.inputs import fill_maps, open_maps, prepare

Item = tuple[int, int, tuple[float, float, float, float]]
"""Index of a query, index of an image, and the box of the landmark in pixels of the image."""

Shown = tuple[np.ndarray, np.ndarray, tuple[float, ...], tuple[float, float, float, float], str]
"""Image, regions [t, 4] in pixels, their thresholds, the true box, and the name of the image."""


def define_flags(values: FlagValues) -> None:
    """Defines the flags of the driver."""
    run_flags.define_flags(values)
    text = (
        "File with the true boxes of landmarks: a JSON list of objects with file, kind (TP) and bbox, x1 y1 x2 y2 in "
        "pixels. Default: the boxes of the queries, in their own pictures."
    )
    flags.DEFINE_string("truth", None, text, flag_values=values)
    text = "Number of pictures to show, of as many landmarks as possible."
    flags.DEFINE_integer("images", 6, text, lower_bound=1, flag_values=values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """Draws figure3.png, and measures how well the region of each threshold overlaps the true box."""
    from experiments import drawing

    inputs = prepare(stack, run_flags.from_flags(values))
    maps = open_maps(stack, inputs)
    items = annotated(inputs.benchmark, values.truth)
    config = inputs.protocol.region_config().limited_to(inputs.model.network.spec.num_labels)
    classes = benchmark.top_classes(inputs.queries, config.heat_classes)
    overlaps: list[list[float]] = []
    by_landmark: dict[str, list[Shown]] = {}
    for query, image, truth in items:
        fill_maps(inputs, maps, np.array([image]))
        stored = maps.read(image)
        batch = reranking.stack_maps([stored], stored["features"].shape[:2], stored["cam_features"].shape[:2])
        cells = reranking.find_regions(inputs.model, batch, classes[query], config)[0]
        picture = read_image(inputs.benchmark.paths[image])
        boxes = in_pixels(cells, stored["features"].shape[:2], picture.shape[:2])
        overlaps.append([overlap(box, truth) for box in boxes])
        landmark = inputs.benchmark.queries[query].name.rpartition("_")[0]
        by_landmark.setdefault(landmark, []).append(
            (picture, boxes, config.fractions, truth, inputs.benchmark.names[image])
        )
    selected = interleave(list(by_landmark.values()), 2 if inputs.run.smoke else values.images)
    drawing.region_figure(folder / "figure3.png", selected)
    table = np.array(overlaps)
    lines: list[list[tables.Cell]] = [
        [f"{100 * fraction:g} %", f"{table[:, i].mean():.3f}", f"{(table[:, i] >= 0.5).mean():.3f}"]
        for i, fraction in enumerate(config.fractions)
    ]
    lines.append(["best threshold", f"{table.max(axis=1).mean():.3f}", f"{(table.max(axis=1) >= 0.5).mean():.3f}"])
    return Outcome(
        title=driver.heading(inputs, "Figure 3"),
        conditions=driver.conditions(inputs),
        tables=[
            tables.Table(
                f"Overlap with the ground truth in {len(items)} images",
                ["threshold", "intersection over union", "share of images, at least .5"],
                lines,
            )
        ],
        pictures=[Picture("figure3.png", "Regions of interest at each threshold; the ground truth is green.")],
        left_out=inputs.left_out,
    )


def annotated(images: ImageSet, truth: str | None) -> list[Item]:
    """Returns the images with a known true box, each with the first query that the image is a positive of."""
    if truth is None:
        return [(i, q.image, q.box) for i, q in enumerate(images.queries) if q.image is not None]
    boxes = read_truth(pathlib.Path(truth))
    index_of_stem = {pathlib.PurePath(name).stem: i for i, name in enumerate(images.names)}
    items = []
    for file, box in boxes.items():
        image = index_of_stem.get(pathlib.PurePath(file).stem)
        query = next((i for i, q in enumerate(images.queries) if image in q.positives and not _is_own(q, image)), None)
        if image is not None and query is not None:
            items.append((query, image, box))
    if not items:
        raise ValueError(f"--truth: {truth} names no positive of a query; its files must be pictures of the dataset")
    return items


def read_truth(path: pathlib.Path) -> dict[str, tuple[float, float, float, float]]:
    """Returns the largest true box of each file; ValueError if the file has another form."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        boxes: dict[str, tuple[float, float, float, float]] = {}
        for entry in entries:
            x1, y1, x2, y2 = (float(value) for value in entry["bbox"])
            if entry["kind"] == "TP" and _area((x1, y1, x2, y2)) > _area(boxes.get(entry["file"], (0, 0, 0, 0))):
                boxes[entry["file"]] = (x1, y1, x2, y2)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"--truth: {path} is not a list of objects with file, kind and bbox ({error})") from error
    return boxes


def in_pixels(cells: np.ndarray, shape: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Returns boxes [t, 4] in pixels of an image of ``size`` from boxes in cells of a map of ``shape``."""
    scale = np.array([size[1] / shape[1], size[0] / shape[0]] * 2)
    return cells * scale


def overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Returns the intersection over union of two boxes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    intersection = max(0.0, float(width)) * max(0.0, float(height))
    return intersection / (_area(first) + _area(second) - intersection)


def interleave(groups: list[list[Shown]], count: int) -> list[Shown]:
    """Returns ``count`` items of as many groups as possible; the first item of each group comes first."""
    ordered = [group[i] for i in range(max(map(len, groups))) for group in groups if i < len(group)]
    return ordered[:count]


def _area(box: Sequence[float]) -> float:
    """Returns the area of a box."""
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _is_own(query: BenchmarkQuery, image: int | None) -> bool:
    """Returns whether an image is the query's own picture."""
    return query.image == image


PROGRAM = driver.program("figure3", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
