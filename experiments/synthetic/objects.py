"""One picture of one part or thing: the labelled set that a small network learns from."""

import math
import pathlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from experiments.synthetic.camera import Camera, look
from experiments.synthetic.folders import Progress, discard, is_finished, open_draft, over_processes, publish
from experiments.synthetic.light import Light, draw_light
from experiments.synthetic.mesh import Mesh, Real, Sketch
from experiments.synthetic.paint import paint
from experiments.synthetic.palette import Palette, draw_palette, vary
from experiments.synthetic.photograph import develop, encode
from experiments.synthetic.surroundings import ground, sky
from experiments.synthetic.vocabulary import ALOFT, OBJECT_CLASSES, ON_GROUND, ON_WALLS, ON_WATER, PARTS, Part

OVERSAMPLING = 2
QUALITY = 90
_TREES = tuple(PARTS[name] for name in ("broadleaf tree", "conifer", "poplar"))
_SMALL = tuple(PARTS[name] for name in ("standing person", "lantern lamp", "sedan car", "wire fence", "round sign"))
_FLANKS = tuple(PARTS[name] for name in ("sash window", "round window", "plain column", "hanging banner"))


def draw_object(seed: int, label: int, number: int, size: int) -> Image.Image:
    """Picture ``number`` of class ``label``, [size, size]; the same for the same arguments, whatever else is drawn."""
    rng = np.random.default_rng([seed, 1, label, number])
    part = PARTS[OBJECT_CLASSES[label]]
    light, palette = draw_light(rng), draw_palette(rng)
    sketch = Sketch(frontal=True)
    part(sketch.front(), rng, palette)
    mesh = sketch.finish()
    camera = _camera(rng, mesh, part, size * OVERSAMPLING)
    side = size * OVERSAMPLING
    canvas = sky((side, side), camera, light, rng)
    if part in ON_WALLS:
        paint(canvas, _wall(rng, palette), camera, light)
    else:
        _stage(canvas, rng, camera, light, part, palette)
    paint(canvas, mesh, camera, light)
    if rng.random() < 0.3:
        _foreground(canvas, rng, camera, light, mesh)
    return develop(canvas, light, rng, OVERSAMPLING, rough=0.7)


def _camera(rng: np.random.Generator, mesh: Mesh, part: Part, side: int) -> Camera:
    """A view of the part from somewhere in front, more or less of the picture filled by it."""
    low, high = mesh.bounds
    middle = (low + high) / 2
    extent = max(high[0] - low[0], (high[2] - low[2]))
    bridge = part in ON_WATER[:4]
    yaw = rng.uniform(-0.7, 0.7) * (1.0 if rng.random() < 0.7 else 0.4)
    pitch = rng.uniform(-0.1, 0.35) if bridge else rng.uniform(-0.35, 0.12)
    if part in ON_GROUND or part in ON_WATER:
        pitch = rng.uniform(0.02, 0.2)
    distance = extent * rng.uniform(1.6, 4.0)
    away = np.array([math.sin(yaw) * math.cos(pitch), -math.cos(yaw) * math.cos(pitch), math.sin(pitch)])
    position = middle + away * distance
    fill = rng.uniform(0.6, 1.2)
    target = middle + rng.uniform(-0.16, 0.16, 3) * extent * (1.2 - 0.7 * min(fill, 1))
    focal = side * fill / extent * (distance - extent * 0.1)
    return look(position, target, focal, (side / 2, side / 2), float(rng.normal(0, 0.04)))


def _wall(rng: np.random.Generator, c: Palette) -> Mesh:
    """The wall behind, with courses and neighbours."""
    sketch = Sketch(frontal=True)
    p = sketch.front()
    p.wall(-6, -4, 6, 5, c.wall, c.wall_texture)
    if rng.random() < 0.5:
        v = rng.uniform(-0.5, -0.12)
        p.box(-6, v, 6, v + 0.08, c.trim, 0.05)
    if rng.random() < 0.5:
        v = rng.uniform(1.25, 1.5)
        p.box(-6, v, 6, v + 0.1, c.trim, 0.07)
    for s in (-1, 1):
        kind, u = _FLANKS[rng.integers(len(_FLANKS))], rng.uniform(1.1, 1.6)
        if rng.random() < 0.45:
            kind(p.at(s * u, rng.uniform(-0.1, 0.1), rng.uniform(0.7, 1.1)), rng, c)
    return sketch.finish()


def _stage(canvas: Image.Image, rng: np.random.Generator, camera: Camera, light: Light, part: Part, c: Palette) -> None:
    """Ground, a row of houses or trees behind, neighbours."""
    kind = str(rng.choice(["grass", "paving", "asphalt", "gravel"]))
    kind = "water" if part in ON_WATER else kind
    sketch = Sketch(frontal=True)
    back = rng.uniform(0.8, 3.5)
    base = 0.0
    if part in ALOFT:
        base = -rng.uniform(0.3, 1.0)
        p = sketch.front(z=0, y=0.95)
        half = rng.uniform(0.6, 2.0)
        p.wall(-half, base - 6, half, 0.0, c.wall, c.wall_texture)
        p.box(-half - 0.04, -0.08, half + 0.04, 0.0, c.trim, 0.06)
    else:
        level = ground(camera, kind, rng, reach=60.0)
        paint(canvas, level, camera, light)
    if rng.random() < 0.6 and part not in ALOFT:
        _houses(sketch, rng, back)
    for _ in range(int(rng.integers(0, 3))):
        tree = _TREES[rng.integers(3)] if rng.random() < 0.6 else _SMALL[rng.integers(len(_SMALL))]
        if tree is not part:
            place = sketch.front(
                rng.choice([-1, 1]) * rng.uniform(0.5, 1.6), back * rng.uniform(0.2, 0.9), base, rng.uniform(0.4, 1.1)
            )
            tree(place, rng, draw_palette(rng))
    if sketch.rows:
        paint(canvas, sketch.finish(), camera, light)


def _houses(sketch: Sketch, rng: np.random.Generator, back: Real) -> None:
    """Plain fronts with grids of windows."""
    u = -3.5
    while u < 3.5:
        c = draw_palette(rng)
        width, height = rng.uniform(0.7, 1.8), rng.uniform(0.5, 2.0)
        p = sketch.front(u, back, 0.0)
        p.wall(0, 0, width, height, c.wall, c.wall_texture if rng.random() < 0.5 else -1)
        columns, rows = int(rng.integers(2, 5)), int(rng.integers(2, 4))
        w, h = width / columns * 0.4, height / rows * 0.5
        for i in range(columns):
            for j in range(rows):
                x, y = width * (i + 0.3) / columns, height * (j + 0.25) / rows
                p.rect(x, y, x + w, y + h, vary(rng, c.glass, 0.3), glow=rng.uniform(0.02, 1))
        p.polygon(
            [(-0.03, height), (width + 0.03, height), (width * 0.9, height * 1.15), (width * 0.1, height * 1.15)],
            c.roof,
            solid=True,
        )
        u += width


def _foreground(canvas: Image.Image, rng: np.random.Generator, camera: Camera, light: Light, mesh: Mesh) -> None:
    """Something small before the object, at a side of it."""
    low, high = mesh.bounds
    kind = (*_SMALL, *_TREES)[rng.integers(len(_SMALL) + 3)]
    sketch = Sketch(frontal=True)
    extent = high[0] - low[0]
    side = rng.choice([-1, 1]) * rng.uniform(0.3, 0.6) * extent
    scale = rng.uniform(0.25, 0.55) * (high[2] - low[2])
    kind(sketch.front((low[0] + high[0]) / 2 + side, low[1] - 0.15 * extent, low[2], scale), rng, draw_palette(rng))
    paint(canvas, sketch.finish(), camera, light)


def render_objects(
    folder: str | pathlib.Path,
    *,
    seed: int,
    per_class: int,
    size: int = 96,
    workers: int = 2,
    progress: Progress = lambda _: None,
) -> pathlib.Path:
    """Renders the labelled set: ``folder/<class name>/<number>.jpg``, spaces in names as underscores.

    Picture ``number`` of a class depends on ``seed``, the class, the number and the size only: a larger ``per_class``
    begins with the pictures of a smaller one. The folder appears when it is complete; if it is there already, rendered
    with the same arguments, nothing is done.

    Args:
        folder: made by this function, its parents if missing.
        seed: any integer from 0.
        per_class: pictures of each of the `OBJECT_CLASSES`.
        size: pixels of both sides, 16 to 512.
        workers: processes.
        progress: called with how many more pictures are finished.

    Returns:
        The folder.

    Raises:
        ValueError: arguments out of range, or a folder that holds something else.
    """
    folder = pathlib.Path(folder)
    if seed < 0 or per_class < 1 or not 16 <= size <= 512:
        raise ValueError(f"seed {seed}, {per_class} pictures a class of {size} pixels: out of range")
    parameters = {"kind": "objects", "seed": seed, "per_class": per_class, "size": size}
    if is_finished(folder, parameters):
        progress(per_class * len(OBJECT_CLASSES))
        return folder
    draft = open_draft(folder)
    try:
        for name in OBJECT_CLASSES:
            (draft / name.replace(" ", "_")).mkdir()
        labels = range(len(OBJECT_CLASSES))
        tasks = [_Task(draft, seed, label, number, size) for label in labels for number in range(per_class)]
        for _ in over_processes(_write_object, tasks, workers=workers, chunk=16):
            progress(1)
        publish(draft, folder, parameters)
    finally:
        discard(draft)
    return folder


class _Task(NamedTuple):
    folder: pathlib.Path
    seed: int
    label: int
    number: int
    size: int


def _write_object(task: _Task) -> None:
    image = draw_object(task.seed, task.label, task.number, task.size)
    file = task.folder / OBJECT_CLASSES[task.label].replace(" ", "_") / f"{task.number:05d}.jpg"
    file.write_bytes(encode(image, QUALITY))
