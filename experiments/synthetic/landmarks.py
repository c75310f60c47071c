"""This module renders a landmark benchmark: queries, views, look-alikes and distractors in Oxford layout."""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from experiments.synthetic.buildings import KINDS, build
from experiments.synthetic.camera import look_at
from experiments.synthetic.folders import (
    Progress,
    discard_draft,
    is_finished,
    map_over_processes,
    open_draft,
    publish,
)
from experiments.synthetic.light import draw_light
from experiments.synthetic.mesh import Mesh, Real
from experiments.synthetic.photograph import develop, encode_jpeg
from experiments.synthetic.scenes import Scene, aim_camera, place_foreground, place_surroundings

GOOD, OK = 0.6, 0.25
"""The least visible shares of a good and of an ok view; other views are junk."""

OVERSAMPLING = 2
"""Painted pixels for each pixel of a picture, in both directions."""

JPEG_QUALITY = 88
MIN_SHARE = 0.04
"""The least visible share of a ``detail`` view."""

SHAPES = ((1.0, 0.75), (0.75, 1.0), (1.0, 2 / 3), (2 / 3, 1.0), (0.875, 0.875))
"""Width and height as shares of the longest side."""

_ROLES = ("far", "cut", "detail", "hidden", "whole", "hidden", "detail", "cut", "whole", "far", "hidden", "detail")
"""Roles of a landmark's views after its queries, repeated in turn."""

_SHARE_RANGES = {
    "whole": (GOOD, 1.1),
    "far": (GOOD, 1.1),
    "cut": (OK, GOOD),
    "detail": (MIN_SHARE, OK),
    "hidden": (0.1, 0.55),
}
"""Visible shares, from the first up to the second, of each role."""


class View(NamedTuple):
    """A `View` holds the seeds and choices that a picture of the benchmark is drawn from.

    Attributes:
        name: file name without ``.jpg``.
        seed: seed of the benchmark.
        kind: kind of the building, an index into `KINDS`.
        shape: seed of the building's shape.
        colours: seed of the building's materials.
        role: ``whole``, ``far``, ``cut``, ``detail`` or ``hidden``; without a building ``street``, ``park``, ``water``.
        key: seed of everything else.
        side: length of the longest side in pixels.
    """

    name: str
    seed: int
    kind: int
    shape: tuple[int, ...]
    colours: tuple[int, ...]
    role: str
    key: tuple[int, ...]
    side: int


class Visibility(NamedTuple):
    """A `Sight` holds the visible share of a picture's building, and the box of the visible part in pixels."""

    share: Real
    box: tuple[Real, Real, Real, Real]


def landmark_name(landmark: int) -> str:
    """Returns the name of a landmark: ``church``, ``domed_hall`` ...; the second church is ``church_2``."""
    repeat = landmark // len(KINDS)
    return KINDS[landmark % len(KINDS)].__name__ + (f"_{repeat + 1}" if repeat else "")


def plan_views(
    seed: int, landmarks: int, queries: int, views: int, lookalikes: int, distractors: int, side: int
) -> list[View]:
    """Returns the views of a benchmark: for each landmark queries, other views and look-alikes, then distractors."""
    plan = []
    for k in range(landmarks):
        kind, name, colours = k % len(KINDS), landmark_name(k), (seed, 10, k)
        for i in range(views):
            role = "whole" if i < queries else _ROLES[(i - queries) % len(_ROLES)]
            plan.append(View(f"{name}_{i:06d}", seed, kind, (seed, 11, k), colours, role, (seed, 12, k, i), side))
        for i in range(lookalikes):
            shape, role = (seed, 13, k, i // 2), ("whole", "far", "cut", "whole", "hidden", "detail")[i % 6]
            plan.append(View(f"{name}_alike_{i:06d}", seed, kind, shape, colours, role, (seed, 14, k, i), side))
    for i in range(distractors):
        rng = np.random.default_rng([seed, 15, i])
        roles = ("whole", "far", "cut", "detail", "street", "park", "water")
        role = str(rng.choice(roles, p=[0.22, 0.1, 0.08, 0.06, 0.26, 0.2, 0.08]))
        kind = int(rng.integers(len(KINDS)))
        plan.append(View(f"distractor_{i:06d}", seed, kind, (seed, 16, i), (seed, 17, i), role, (seed, 18, i), side))
    return plan


@functools.lru_cache(maxsize=8)
def _building(kind: int, shape: tuple[int, ...], colours: tuple[int, ...]) -> Mesh:
    """Builds a building; the last buildings are kept."""
    return build(kind, list(shape), list(colours))


def compose(view: View) -> tuple[Scene, Visibility]:
    """Returns the scene of a view, `OVERSAMPLING` times as large as its picture, and the sight of its building.

    Scenes are drawn at random until the visible share of the building suits the role of the view. The twelfth scene,
    with nothing in front of the building, is used in any case.
    """
    for attempt in range(12):
        rng = np.random.default_rng([*view.key, attempt])
        scene = _arrange(view, rng, clear=attempt == 11)
        if scene.subject < 0:
            return scene, Visibility(0.0, (0, 0, 0, 0))
        visible = scene.visible()
        share = scene.share(visible)
        low, high = _SHARE_RANGES[view.role]
        if low <= share < high or attempt == 11:
            break
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    x1, y1, x2, y2 = (float(edge) / OVERSAMPLING for edge in edges)
    return scene, Visibility(share, (x1, y1, x2, y2))


def _arrange(view: View, rng: np.random.Generator, *, clear: bool) -> Scene:
    """Draws a scene at random; if ``clear``, nothing stands in front of the building."""
    width, height = SHAPES[int(rng.choice(len(SHAPES), p=[0.36, 0.22, 0.2, 0.1, 0.12]))]
    size = (round(view.side * width) * OVERSAMPLING, round(view.side * height) * OVERSAMPLING)
    if view.role in ("street", "park", "water"):
        return _arrange_without_building(view, rng, size)
    subject = _building(view.kind, view.shape, view.colours)
    fill, shift = {
        "whole": (rng.uniform(0.7, 1.06), rng.uniform(0, 0.12)),
        "far": (rng.uniform(0.38, 0.62), rng.uniform(0, 0.4)),
        "cut": (rng.uniform(0.8, 1.5), rng.uniform(0.3, 0.62)),
        "detail": (rng.uniform(1.6, 4.0), 0.0),
        "hidden": (rng.uniform(0.6, 1.1), rng.uniform(0, 0.25)),
    }[view.role]
    camera = aim_camera(rng, subject, size, fill=fill, shift=shift, detail=view.role == "detail")
    is_bridge = KINDS[view.kind].__name__ == "bridge"
    ground = (
        "water" if is_bridge else str(rng.choice(["grass", "paving", "asphalt", "gravel"], p=[0.3, 0.4, 0.15, 0.15]))
    )
    bounds = subject.bounds
    meshes = [subject, *place_surroundings(view.seed, rng, bounds, ground)]
    is_dense = view.role == "hidden"
    if not clear:
        count = int(rng.integers(7, 15)) if is_dense else int(rng.integers(0, 8))
        meshes += place_foreground(view.seed, rng, bounds, camera.position, ground=ground, dense=is_dense, count=count)
    return Scene(tuple(meshes), 0, camera, size, ground)


def _arrange_without_building(view: View, rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """Draws a street, a park or a shore at random."""
    ground = {"street": str(rng.choice(["paving", "asphalt"])), "park": "grass", "water": "water"}[view.role]
    bounds = np.array([[-14.0, 0.0, 0.0], [14.0, 4.0, rng.uniform(6, 14)]])
    meshes = place_surroundings(view.seed, rng, bounds, ground)
    eye = np.array([rng.uniform(-12, 12), -rng.uniform(14, 45), rng.uniform(1.5, 4)])
    count = int(rng.integers(4, 14))
    meshes += place_foreground(view.seed, rng, bounds, eye, ground=ground, dense=view.role == "park", count=count)
    meshes = meshes or place_foreground(view.seed, rng, bounds, eye, ground=ground, dense=True, count=9)
    target = np.array([rng.uniform(-8, 8), 4.0, rng.uniform(1, 6)])
    focal = max(size) * rng.uniform(0.6, 1.5)
    camera = look_at(eye, target, focal, (size[0] / 2, size[1] / 2), float(rng.normal(0, 0.02)))
    return Scene(tuple(meshes), -1, camera, size, ground)


def draw_view(view: View) -> tuple[Image.Image, Visibility]:
    """Draws the picture of a view; returns the picture and the sight of its building."""
    scene, sight = compose(view)
    rng = np.random.default_rng([*view.key, 99])
    light = draw_light(rng)
    return develop(scene.paint(light, rng), light, rng, OVERSAMPLING, roughness=0.8), sight


def _write_view(task: tuple[pathlib.Path, View]) -> Visibility:
    """Draws a view into a file of the folder."""
    folder, view = task
    image, sight = draw_view(view)
    (folder / f"{view.name}.jpg").write_bytes(encode_jpeg(image, JPEG_QUALITY))
    return sight


def write_labels(
    folder: pathlib.Path, name: str, names: Sequence[str], sights: Sequence[Visibility], queries: int
) -> None:
    """Writes the label files of a landmark; its first ``queries`` pictures are queries."""
    groups: dict[str, list[str]] = {"good": [], "ok": [], "junk": []}
    for image, sight in zip(names, sights, strict=True):
        groups["good" if sight.share >= GOOD else "ok" if sight.share >= OK else "junk"].append(image)
    for i in range(queries):
        box = " ".join(f"{edge:.1f}" for edge in sights[i].box)
        (folder / f"{name}_{i + 1}_query.txt").write_text(f"oxc1_{names[i]} {box}\n", encoding="utf-8")
        for group, members in groups.items():
            text = "".join(f"{member}\n" for member in members)
            (folder / f"{name}_{i + 1}_{group}.txt").write_text(text, encoding="utf-8")


def render_landmarks(
    folder: str | pathlib.Path,
    *,
    seed: int,
    landmarks: int = 11,
    queries: int = 5,
    views: int = 18,
    lookalikes: int = 6,
    distractors: int = 130,
    labels: bool = True,
    side: int = 384,
    workers: int = 2,
    progress: Progress = lambda _: None,
) -> pathlib.Path:
    """Renders a benchmark of instance search in Oxford layout, or a plain folder of pictures.

    A picture depends only on ``seed``, its landmark, its number and ``side``. Query i of a landmark is picture i of the
    landmark: a good view, with the exact box of the visible part. A picture is good for its landmark if at least `GOOD`
    of the landmark's pixels are visible, ok from `OK` on, otherwise junk. Look-alikes (buildings of the same kind and
    materials) and distractors are in no list. The folder appears when it is complete. If the folder was rendered with
    the same arguments before, nothing is rendered.

    Args:
        folder: the folder to create; missing parents are created too.
        seed: seed of the benchmark, from 0; other seeds have other landmarks.
        landmarks: number of landmarks.
        queries: number of queries of each landmark.
        views: number of pictures of each landmark, queries included.
        lookalikes: number of pictures of similar buildings for each landmark, two of each building.
        distractors: number of pictures of other buildings, streets, parks and shores.
        labels: whether to write ``lab/``; without labels the pictures are in ``folder`` itself.
        side: length of the longer side in pixels, 64 to 1,024.
        workers: number of processes.
        progress: function that is called with the number of pictures finished since its last call.

    Returns:
        The folder.

    Raises:
        ValueError: An argument is out of range, or the folder holds something else.
    """
    folder = pathlib.Path(folder)
    counts = {"landmarks": landmarks, "queries": queries, "views": views, "lookalikes": lookalikes}
    parameters = {
        "kind": "landmarks",
        "seed": seed,
        **counts,
        "distractors": distractors,
        "labels": labels,
        "side": side,
    }
    if min(seed, lookalikes, distractors) < 0 or landmarks < 1 or not 1 <= queries <= views or not 64 <= side <= 1024:
        raise ValueError(f"an argument is out of range: {parameters}")
    plan = plan_views(seed, landmarks, queries, views, lookalikes, distractors, side)
    if is_finished(folder, parameters):
        progress(len(plan))
        return folder
    _render(folder, plan, parameters, workers, progress)
    return folder


def _render(
    folder: pathlib.Path, plan: Sequence[View], parameters: dict[str, Any], workers: int, progress: Progress
) -> None:
    """Draws all views of the plan into a draft, then renames the draft to the folder."""
    draft = open_draft(folder)
    try:
        pictures = draft / "jpg" if parameters["labels"] else draft
        pictures.mkdir(exist_ok=True)
        sights = {}
        tasks = [(pictures, view) for view in plan]
        for view, sight in zip(plan, map_over_processes(_write_view, tasks, workers=workers, chunk=6), strict=True):
            sights[view.name] = sight
            progress(1)
        if parameters["labels"]:
            (draft / "lab").mkdir()
            for k in range(parameters["landmarks"]):
                names = [f"{landmark_name(k)}_{i:06d}" for i in range(parameters["views"])]
                landmark_sights = [sights[name] for name in names]
                write_labels(draft / "lab", landmark_name(k), names, landmark_sights, parameters["queries"])
        publish(draft, folder, parameters)
    finally:
        discard_draft(draft)
