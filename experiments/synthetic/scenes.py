"""This module arranges scenes: a subject among houses and props, and the camera that looks at the subject."""

import dataclasses
import functools
import math

import numpy as np
from PIL import Image

from experiments.synthetic import blocks, windows
from experiments.synthetic.camera import Camera, look_at
from experiments.synthetic.light import Light
from experiments.synthetic.mesh import Mesh, Real, Sketch
from experiments.synthetic.paint import far_to_near, fill_silhouette, paint_mesh
from experiments.synthetic.palette import draw_palette
from experiments.synthetic.surroundings import build_ground, build_ground_shadow, paint_sky
from experiments.synthetic.vocabulary import PROPS

HEIGHT_RANGES_M: dict[str, tuple[Real, Real]] = {
    **dict.fromkeys(("standing person", "umbrella person", "cyclist", "people group"), (1.6, 1.9)),
    **dict.fromkeys(("sedan car", "hatchback car", "pickup truck"), (1.4, 1.7)),
    **dict.fromkeys(("delivery van", "city bus", "tram", "lorry", "awning stall", "market umbrella"), (2.2, 3.2)),
    **dict.fromkeys(("broadleaf tree", "conifer", "poplar", "palm tree"), (6.0, 14.0)),
    **dict.fromkeys(("lantern lamp", "globe lamp", "twin lamp", "mast lamp", "signpost"), (3.5, 6.0)),
    **dict.fromkeys(("striped flag", "cross flag", "pennant", "obelisk", "statue"), (5.0, 9.0)),
    **dict.fromkeys(("iron railing", "stone balustrade", "picket fence", "wire fence", "chain bollards"), (0.9, 1.3)),
    **dict.fromkeys(("round kiosk", "phone booth", "warning sign", "round sign", "street sign"), (2.4, 3.2)),
    **dict.fromkeys(("tiered fountain", "basin fountain", "jet fountain", "double decker bus"), (2.0, 4.5)),
    **dict.fromkeys(("rowing boat", "ferry boat", "cargo barge"), (1.8, 4.0)),
    "sailing boat": (6.0, 10.0),
}
"""Least and greatest height of each prop."""

_STREET_PROPS = tuple(name for name in HEIGHT_RANGES_M if not name.endswith(("boat", "barge", "fountain", "obelisk")))
_LARGE_PROPS = ("broadleaf tree", "conifer", "poplar", "palm tree", "city bus", "tram", "lorry", "double decker bus")
"""Props that hide much; the first four are trees."""

_BOATS = ("sailing boat", "rowing boat", "ferry boat", "cargo barge")
_PARK_PROPS = (
    "broadleaf tree",
    "conifer",
    "poplar",
    "statue",
    "obelisk",
    "tiered fountain",
    "basin fountain",
    "jet fountain",
)
_NUM_VARIANTS = 5
_NUM_HOUSES = 14


@dataclasses.dataclass(frozen=True)
class Scene:
    """A `Scene` holds meshes on a ground in front of a camera.

    Attributes:
        meshes: the subject, houses and props.
        subject: index of the subject in ``meshes``; -1 for none.
        camera: the camera that sees the scene.
        size: width and height of the picture in pixels.
        ground: kind of the ground, a key of `surroundings.GROUNDS`.
    """

    meshes: tuple[Mesh, ...]
    subject: int
    camera: Camera
    size: tuple[int, int]
    ground: str

    def order(self) -> list[int]:
        """Returns the indices of ``meshes`` from far to near."""
        bounds = np.stack([mesh.bounds for mesh in self.meshes])
        return far_to_near(bounds[:, 0], bounds[:, 1], self.camera.position)

    def visible(self) -> np.ndarray:
        """Returns where the subject is visible, bool, shape [height, width]."""
        mask = Image.new("L", self.size)
        order = self.order()
        for i in order[order.index(self.subject) :]:
            fill_silhouette(mask, self.meshes[i], self.camera, 255 if i == self.subject else 0)
        return np.asarray(mask) > 0

    def share(self, visible: np.ndarray) -> float:
        """Returns the visible pixels as a share of the subject's pixels in an endless picture without other meshes."""
        subject = self.meshes[self.subject]
        pixels, _ = self.camera.project(subject.vertices)
        low, high = np.floor(pixels.min(0)), pixels.max(0)
        factor = min(1.0, 2600.0 / float((high - low).max()))
        middle = (np.array(self.camera.centre) - low) * factor + 2
        camera = self.camera.scaled(factor, (float(middle[0]), float(middle[1])))
        width, height = ((high - low) * factor).astype(int) + 5
        whole = Image.new("L", (int(width), int(height)))
        fill_silhouette(whole, subject, camera, 255)
        area = np.count_nonzero(np.asarray(whole)) / factor**2
        return float(np.count_nonzero(visible) / max(area, 1.0))

    def paint(self, light: Light, rng: np.random.Generator) -> Image.Image:
        """Paints the scene in the given light, without weather or faults of the camera."""
        canvas = paint_sky(self.size, self.camera, light, rng)
        paint_mesh(canvas, build_ground(self.camera, self.ground, rng), self.camera, light)
        if self.ground != "water":
            shadow = build_ground_shadow(list(self.meshes), light)
            if shadow is not None:
                paint_mesh(canvas, shadow, self.camera, light)
        for i in self.order():
            paint_mesh(canvas, self.meshes[i], self.camera, light)
        return canvas


@functools.lru_cache(maxsize=512)
def build_prop(seed: int, name: str, variant: int) -> Mesh:
    """Draws version ``variant`` of a prop, about one unit high, for the scenes of a seed."""
    number, part = PROPS[name]
    rng = np.random.default_rng([seed, 3, number, variant])
    sketch = Sketch(frontal=True)
    part(sketch.front(), rng, draw_palette(rng))
    return sketch.finish()


@functools.lru_cache(maxsize=64)
def build_house(seed: int, variant: int) -> Mesh:
    """Builds a plain house; the left corner of its front is at the origin."""
    rng = np.random.default_rng([seed, 4, variant])
    style = dataclasses.replace(blocks.draw_style(rng, draw_palette(rng)), quoins=False, pilasters=False)
    style = dataclasses.replace(style, window=windows.sash_window, ground=windows.sash_window)
    sketch = Sketch()
    width, depth, height = rng.uniform(8, 20), rng.uniform(8, 12), rng.uniform(6, 17)
    blocks.block(sketch, (0, 0, width, depth), height, style, rng, door=True)
    box = (0.0, 0.0, width, depth)
    if rng.random() < 0.5:
        blocks.gabled(sketch, box, height, rng.uniform(2.5, 5), style.palette, along_y=bool(rng.random() < 0.3))
    else:
        blocks.hipped(sketch, box, height, rng.uniform(2, 4), 0.6, style.palette)
    return sketch.finish()


def place_surroundings(seed: int, rng: np.random.Generator, bounds: np.ndarray, ground: str) -> list[Mesh]:
    """Returns houses and trees behind and beside an object with the given bounds, shape [2, 3]."""
    (x0, y0, _), (x1, y1, _) = bounds.tolist()
    meshes = []
    x = x0 - rng.uniform(0, 60)
    house_row_y = y1 + rng.uniform(12, 50)
    while x < x1 + 50 and ground != "grass" and rng.random() < 0.9:
        mesh = build_house(seed, int(rng.integers(_NUM_HOUSES)))
        meshes.append(mesh.transformed((x, house_row_y + rng.uniform(0, 4), 0)))
        x += float(mesh.bounds[1, 0]) + (rng.uniform(0, 14) if rng.random() < 0.4 else 0.2)
    for side in (-1, 1):
        if ground != "water" and rng.random() < 0.4:
            mesh = build_house(seed, int(rng.integers(_NUM_HOUSES)))
            width = float(mesh.bounds[1, 0])
            house_x = x1 + rng.uniform(2, 14) if side > 0 else x0 - width - rng.uniform(2, 14)
            meshes.append(mesh.transformed((house_x, y0 + rng.uniform(-2, 12), 0)))
    for _ in range(int(rng.integers(0, 7))):
        name = _LARGE_PROPS[rng.integers(4)]
        x, y = rng.uniform(x0 - 30, x1 + 30), y1 + rng.uniform(3, 11)
        meshes.append(_place_prop(seed, rng, name, x, y, 0.0))
    return meshes


def place_foreground(
    seed: int, rng: np.random.Generator, bounds: np.ndarray, eye: np.ndarray, *, ground: str, dense: bool, count: int
) -> list[Mesh]:
    """Returns props between the camera at ``eye`` and an object with the given bounds, shape [2, 3].

    If ``dense``, the first five props stand nearer the camera; on land they are large and hide much of the object.
    """
    (x0, y0, _), (x1, y1, _) = bounds.tolist()
    meshes: list[Mesh] = []
    middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    for k in range(count):
        large = dense and k < 5
        names = _BOATS if ground == "water" else _LARGE_PROPS if large else _STREET_PROPS
        if ground == "grass" and not large and rng.random() < 0.5:
            names = _PARK_PROPS
        target = np.array([rng.uniform(x0 - 5, x1 + 5), y0 - 1.0])
        share = rng.uniform(0.35, 0.75) if large else rng.uniform(0.45, 0.96)
        x, y = eye[:2] + (target - eye[:2]) * share
        distance = math.hypot(x - eye[0], y - eye[1])
        if y > y0 - 3 or distance < (7 if large else 5):
            continue
        turn = math.atan2(middle[0] - eye[0], middle[1] - eye[1])
        meshes.append(_place_prop(seed, rng, names[rng.integers(len(names))], float(x), float(y), -turn))
    return meshes


def _place_prop(seed: int, rng: np.random.Generator, name: str, x: Real, y: Real, turn: Real) -> Mesh:
    """Draws a prop and places it at (x, y), turned by about ``turn`` radians."""
    min_height, max_height = HEIGHT_RANGES_M[name]
    mesh = build_prop(seed, name, int(rng.integers(_NUM_VARIANTS)))
    return mesh.transformed((x, y, 0.0), turn=turn + rng.uniform(-0.4, 0.4), scale=rng.uniform(min_height, max_height))


def aim_camera(
    rng: np.random.Generator, subject: Mesh, size: tuple[int, int], *, fill: Real, shift: Real, detail: bool
) -> Camera:
    """Returns a camera in front of the subject.

    Args:
        rng: the source of the angle, the height and the distance.
        subject: the mesh that the camera looks at.
        size: width and height of the picture in pixels.
        fill: the larger of the subject's width and height, as shares of the picture's.
        shift: distance of the subject from the middle of the picture, as a share of the subject's own extent.
        detail: whether to look at a random point of the subject instead of its middle.
    """
    low, high = subject.bounds
    extent = float(np.linalg.norm(high - low))
    azimuth = float(np.clip(rng.normal(0, 0.5), -0.95, 0.95))
    is_elevated = rng.random() < 0.2
    eye_height = rng.uniform(5, 25) if is_elevated else rng.uniform(1.5, 2.6)
    distance = extent * rng.uniform(0.85, 1.9) + 4
    middle = (low + high) / 2
    eye = np.array([middle[0] + math.sin(azimuth) * distance, low[1] - math.cos(azimuth) * distance, eye_height])
    target = middle + rng.uniform(-0.1, 0.1, 3) * (high - low)
    camera = look_at(eye, target, 1.0, (0.0, 0.0), float(rng.normal(0, 0.025)))
    pixels, _ = camera.project(subject.vertices)
    low_px, high_px = pixels.min(0), pixels.max(0)
    focal = fill * float(np.min(np.array(size) / (high_px - low_px)))
    angle = rng.uniform(0, 2 * math.pi)
    offset = shift * (high_px - low_px) * np.array([math.cos(angle), 0.6 * math.sin(angle)])
    centre = (low_px + high_px) / 2 + offset
    if detail:
        centre = low_px + (high_px - low_px) * np.array([rng.uniform(0.2, 0.8), rng.uniform(0.25, 0.75)])
    principal_point = np.array(size) / 2 - focal * centre
    return camera.scaled(focal, (float(principal_point[0]), float(principal_point[1])))
