"""The landmark benchmark: queries, views good and bad, look-alikes and distractors in Oxford layout."""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from experiments.synthetic.buildings import KINDS, build
from experiments.synthetic.camera import look
from experiments.synthetic.folders import Progress, discard, is_finished, open_draft, over_processes, publish
from experiments.synthetic.light import draw_light
from experiments.synthetic.mesh import Mesh, Real
from experiments.synthetic.photograph import develop, encode
from experiments.synthetic.scenes import Scene, aim, foreground, surround

GOOD, OK = 0.6, 0.25
"""Visible shares from which a view is good, or ok; below it is junk."""

OVERSAMPLING = 2
QUALITY = 88
LEAST = 0.04
SHAPES = ((1.0, 0.75), (0.75, 1.0), (1.0, 2 / 3), (2 / 3, 1.0), (0.875, 0.875))
"""Width and height in shares of the longest side."""

_ROLES = ("far", "cut", "detail", "hidden", "whole", "hidden", "detail", "cut", "whole", "far", "hidden", "detail")
_WANTED = {"whole": (GOOD, 1.1), "far": (GOOD, 1.1), "cut": (OK, GOOD), "detail": (LEAST, OK), "hidden": (0.1, 0.55)}


class View(NamedTuple):
    """One picture of the set, before it is drawn.

    Attributes:
        name: of the file, without ``.jpg``.
        seed: of the set.
        kind: of the building, into `KINDS`.
        shape: seed of the building's shape.
        colours: seed of its materials.
        role: ``whole``, ``far``, ``cut``, ``detail`` or ``hidden``; ``street``, ``park`` or ``water`` have no building.
        key: seed of everything else.
        side: pixels of the longest side.
    """

    name: str
    seed: int
    kind: int
    shape: tuple[int, ...]
    colours: tuple[int, ...]
    role: str
    key: tuple[int, ...]
    side: int


class Sight(NamedTuple):
    """How much of the building a picture shows: its visible share, and the box ``x1 y1 x2 y2`` of that in pixels."""

    share: Real
    box: tuple[Real, Real, Real, Real]


def landmark_name(landmark: int) -> str:
    """``church``, ``domed_hall`` ...; ``church_2`` the second time round."""
    again = landmark // len(KINDS)
    return KINDS[landmark % len(KINDS)].__name__ + (f"_{again + 1}" if again else "")


def plan_views(
    seed: int, landmarks: int, queries: int, views: int, lookalikes: int, distractors: int, side: int
) -> list[View]:
    """Every picture of a set; those of landmark k come first, its queries' before its others."""
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
    return build(kind, list(shape), list(colours))


def compose(view: View) -> tuple[Scene, Sight]:
    """The scene of a picture, at `OVERSAMPLING` times its size, and what is seen of the building."""
    for attempt in range(12):
        rng = np.random.default_rng([*view.key, attempt])
        scene = _arrange(view, rng, clear=attempt == 11)
        if scene.subject < 0:
            return scene, Sight(0.0, (0, 0, 0, 0))
        visible = scene.visible()
        share = scene.share(visible)
        low, high = _WANTED[view.role]
        if low <= share < high or attempt == 11:
            break
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    x1, y1, x2, y2 = (float(edge) / OVERSAMPLING for edge in edges)
    return scene, Sight(share, (x1, y1, x2, y2))


def _arrange(view: View, rng: np.random.Generator, *, clear: bool) -> Scene:
    """One try at a scene; with ``clear`` nothing stands before the building."""
    wide, tall = SHAPES[int(rng.choice(len(SHAPES), p=[0.36, 0.22, 0.2, 0.1, 0.12]))]
    size = (round(view.side * wide) * OVERSAMPLING, round(view.side * tall) * OVERSAMPLING)
    if view.role in ("street", "park", "water"):
        return _place_without_building(view, rng, size)
    subject = _building(view.kind, view.shape, view.colours)
    fill, shift = {
        "whole": (rng.uniform(0.7, 1.06), rng.uniform(0, 0.12)),
        "far": (rng.uniform(0.38, 0.62), rng.uniform(0, 0.4)),
        "cut": (rng.uniform(0.8, 1.5), rng.uniform(0.3, 0.62)),
        "detail": (rng.uniform(1.6, 4.0), 0.0),
        "hidden": (rng.uniform(0.6, 1.1), rng.uniform(0, 0.25)),
    }[view.role]
    camera = aim(rng, subject, size, fill=fill, shift=shift, detail=view.role == "detail")
    water = KINDS[view.kind].__name__ == "bridge"
    floor = "water" if water else str(rng.choice(["grass", "paving", "asphalt", "gravel"], p=[0.3, 0.4, 0.15, 0.15]))
    bounds = subject.bounds
    meshes = [subject, *surround(view.seed, rng, bounds, floor)]
    dense = view.role == "hidden"
    if not clear:
        count = int(rng.integers(7, 15)) if dense else int(rng.integers(0, 8))
        meshes += foreground(view.seed, rng, bounds, camera.position, floor=floor, dense=dense, count=count)
    return Scene(tuple(meshes), 0, camera, size, floor)


def _place_without_building(view: View, rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """A street, a park or a shore."""
    floor = {"street": str(rng.choice(["paving", "asphalt"])), "park": "grass", "water": "water"}[view.role]
    bounds = np.array([[-14.0, 0.0, 0.0], [14.0, 4.0, rng.uniform(6, 14)]])
    stage = surround(view.seed, rng, bounds, floor)
    eye = np.array([rng.uniform(-12, 12), -rng.uniform(14, 45), rng.uniform(1.5, 4)])
    count = int(rng.integers(4, 14))
    stage += foreground(view.seed, rng, bounds, eye, floor=floor, dense=view.role == "park", count=count)
    stage = stage or foreground(view.seed, rng, bounds, eye, floor=floor, dense=True, count=9)
    target = np.array([rng.uniform(-8, 8), 4.0, rng.uniform(1, 6)])
    focal = max(size) * rng.uniform(0.6, 1.5)
    camera = look(eye, target, focal, (size[0] / 2, size[1] / 2), float(rng.normal(0, 0.02)))
    return Scene(tuple(stage), -1, camera, size, floor)


def draw_view(view: View) -> tuple[Image.Image, Sight]:
    """The picture, and what it shows of its building."""
    scene, sight = compose(view)
    rng = np.random.default_rng([*view.key, 99])
    light = draw_light(rng)
    return develop(scene.paint(light, rng), light, rng, OVERSAMPLING, rough=0.8), sight


def _write_view(task: tuple[pathlib.Path, View]) -> Sight:
    folder, view = task
    image, sight = draw_view(view)
    (folder / f"{view.name}.jpg").write_bytes(encode(image, QUALITY))
    return sight


def write_labels(folder: pathlib.Path, name: str, names: Sequence[str], sights: Sequence[Sight], queries: int) -> None:
    """The label files of one landmark, its first ``queries`` pictures being the queries'."""
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

    A picture depends on ``seed``, its landmark, its number and ``side`` only. Query i of a landmark is its picture i,
    which is good, with the exact box of what is seen of it. A picture is good for its landmark where at least `GOOD`
    of the landmark's pixels are seen, ok from `OK` on, otherwise junk; look-alikes (the same kind of building in the
    same materials) and distractors are in no list. The folder appears when it is complete; if it is there already,
    rendered with the same arguments, nothing is done.

    Args:
        folder: made by this function, its parents if missing.
        seed: any integer from 0; other seeds have other landmarks.
        landmarks: how many.
        queries: of each landmark.
        views: pictures of each landmark, at least ``queries``.
        lookalikes: pictures of buildings much like each landmark, two of each building.
        distractors: pictures of other buildings, streets, parks and shores.
        labels: False leaves out ``lab/`` and puts the pictures in ``folder`` itself.
        side: pixels of the longer side, 64 to 1,024.
        workers: processes.
        progress: called with how many more pictures are finished.

    Returns:
        The folder.

    Raises:
        ValueError: arguments out of range, or a folder that holds something else.
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
        raise ValueError(f"out of range: {parameters}")
    plan = plan_views(seed, landmarks, queries, views, lookalikes, distractors, side)
    if is_finished(folder, parameters):
        progress(len(plan))
        return folder
    _render(folder, plan, parameters, workers, progress)
    return folder


def _render(
    folder: pathlib.Path, plan: Sequence[View], parameters: dict[str, Any], workers: int, progress: Progress
) -> None:
    """Draws the plan into a draft and makes it the folder."""
    draft = open_draft(folder)
    try:
        pictures = draft / "jpg" if parameters["labels"] else draft
        pictures.mkdir(exist_ok=True)
        sights = {}
        tasks = [(pictures, view) for view in plan]
        for view, sight in zip(plan, over_processes(_write_view, tasks, workers=workers, chunk=6), strict=True):
            sights[view.name] = sight
            progress(1)
        if parameters["labels"]:
            (draft / "lab").mkdir()
            for k in range(parameters["landmarks"]):
                names = [f"{landmark_name(k)}_{i:06d}" for i in range(parameters["views"])]
                seen = [sights[name] for name in names]
                write_labels(draft / "lab", landmark_name(k), names, seen, parameters["queries"])
        publish(draft, folder, parameters)
    finally:
        discard(draft)
