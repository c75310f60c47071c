"""A subject among houses, trees, people and cars, and the camera that looks at it."""

import dataclasses
import functools
import math

import numpy as np
from PIL import Image

from experiments.synthetic import blocks, windows
from experiments.synthetic.camera import Camera, look
from experiments.synthetic.light import Light
from experiments.synthetic.mesh import Mesh, Real, Sketch
from experiments.synthetic.paint import far_to_near, paint, silhouette
from experiments.synthetic.palette import draw_palette
from experiments.synthetic.surroundings import ground, ground_shadow, sky
from experiments.synthetic.vocabulary import PROPS

METRES: dict[str, tuple[Real, Real]] = {
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
"""Heights of what may stand about."""

_STREET = tuple(name for name in METRES if not name.endswith(("boat", "barge", "fountain", "obelisk")))
_TALL = ("broadleaf tree", "conifer", "poplar", "palm tree", "city bus", "tram", "lorry", "double decker bus")
_AFLOAT = ("sailing boat", "rowing boat", "ferry boat", "cargo barge")
_PARK = (
    "broadleaf tree",
    "conifer",
    "poplar",
    "statue",
    "obelisk",
    "tiered fountain",
    "basin fountain",
    "jet fountain",
)
_VARIANTS = 5
_HOUSES = 14


@dataclasses.dataclass(frozen=True)
class Scene:
    """Meshes on a ground before a camera; ``subject`` is a position in ``meshes``, -1 for none."""

    meshes: tuple[Mesh, ...]
    subject: int
    camera: Camera
    size: tuple[int, int]
    floor: str

    def order(self) -> list[int]:
        """Positions in ``meshes`` from far to near."""
        bounds = np.stack([mesh.bounds for mesh in self.meshes])
        return far_to_near(bounds[:, 0], bounds[:, 1], self.camera.position)

    def visible(self) -> np.ndarray:
        """[height, width] bool, where the subject is seen."""
        mask = Image.new("L", self.size)
        order = self.order()
        for i in order[order.index(self.subject) :]:
            silhouette(mask, self.meshes[i], self.camera, 255 if i == self.subject else 0)
        return np.asarray(mask) > 0

    def share(self, visible: np.ndarray) -> float:
        """Visible pixels of the subject over those that an empty scene and an endless frame would show."""
        subject = self.meshes[self.subject]
        pixels, _ = self.camera.project(subject.vertices)
        low, high = np.floor(pixels.min(0)), pixels.max(0)
        factor = min(1.0, 2600.0 / float((high - low).max()))
        middle = (np.array(self.camera.centre) - low) * factor + 2
        camera = self.camera.scaled(factor, (float(middle[0]), float(middle[1])))
        width, height = ((high - low) * factor).astype(int) + 5
        whole = Image.new("L", (int(width), int(height)))
        silhouette(whole, subject, camera, 255)
        area = np.count_nonzero(np.asarray(whole)) / factor**2
        return float(np.count_nonzero(visible) / max(area, 1.0))

    def paint(self, light: Light, rng: np.random.Generator) -> Image.Image:
        """The scene in the given light, before weather and camera."""
        canvas = sky(self.size, self.camera, light, rng)
        paint(canvas, ground(self.camera, self.floor, rng), self.camera, light)
        if self.floor != "water":
            shadow = ground_shadow(list(self.meshes), light)
            if shadow is not None:
                paint(canvas, shadow, self.camera, light)
        for i in self.order():
            paint(canvas, self.meshes[i], self.camera, light)
        return canvas


@functools.lru_cache(maxsize=512)
def prop(seed: int, name: str, variant: int) -> Mesh:
    """A thing of the vocabulary, one unit high, as it stands about in the scenes of one seed."""
    number, part = PROPS[name]
    rng = np.random.default_rng([seed, 3, number, variant])
    sketch = Sketch(frontal=True)
    part(sketch.front(), rng, draw_palette(rng))
    return sketch.finish()


@functools.lru_cache(maxsize=64)
def house(seed: int, variant: int) -> Mesh:
    """A plain house, its front's left corner at the origin."""
    rng = np.random.default_rng([seed, 4, variant])
    style = dataclasses.replace(blocks.draw_style(rng, draw_palette(rng)), quoins=False, pilasters=False)
    style = dataclasses.replace(style, window=windows.sash_window, ground=windows.sash_window)
    sketch = Sketch()
    width, deep, tall = rng.uniform(8, 20), rng.uniform(8, 12), rng.uniform(6, 17)
    blocks.block(sketch, (0, 0, width, deep), tall, style, rng, door=True)
    box = (0.0, 0.0, width, deep)
    if rng.random() < 0.5:
        blocks.gabled(sketch, box, tall, rng.uniform(2.5, 5), style.palette, along_y=bool(rng.random() < 0.3))
    else:
        blocks.hipped(sketch, box, tall, rng.uniform(2, 4), 0.6, style.palette)
    return sketch.finish()


def surround(seed: int, rng: np.random.Generator, bounds: np.ndarray, floor: str) -> list[Mesh]:
    """Houses and trees behind and beside what fills the given bounds [2, 3]."""
    (x0, y0, _), (x1, y1, _) = bounds.tolist()
    found = []
    x = x0 - rng.uniform(0, 60)
    back = y1 + rng.uniform(12, 50)
    while x < x1 + 50 and floor != "grass" and rng.random() < 0.9:
        mesh = house(seed, int(rng.integers(_HOUSES)))
        found.append(mesh.placed((x, back + rng.uniform(0, 4), 0)))
        x += float(mesh.bounds[1, 0]) + (rng.uniform(0, 14) if rng.random() < 0.4 else 0.2)
    for side in (-1, 1):
        if floor != "water" and rng.random() < 0.4:
            mesh = house(seed, int(rng.integers(_HOUSES)))
            width = float(mesh.bounds[1, 0])
            place = x1 + rng.uniform(2, 14) if side > 0 else x0 - width - rng.uniform(2, 14)
            found.append(mesh.placed((place, y0 + rng.uniform(-2, 12), 0)))
    for _ in range(int(rng.integers(0, 7))):
        name = _TALL[rng.integers(4)]
        x, y = rng.uniform(x0 - 30, x1 + 30), y1 + rng.uniform(3, 11)
        found.append(_stand(seed, rng, name, x, y, 0.0))
    return found


def foreground(
    seed: int, rng: np.random.Generator, bounds: np.ndarray, eye: np.ndarray, *, floor: str, dense: bool, count: int
) -> list[Mesh]:
    """Things between the camera and the bounds [2, 3], some hiding much if ``dense``."""
    (x0, y0, _), (x1, y1, _) = bounds.tolist()
    found: list[Mesh] = []
    middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    for k in range(count):
        large = dense and k < 5
        names = _AFLOAT if floor == "water" else _TALL if large else _STREET
        if floor == "grass" and not large and rng.random() < 0.5:
            names = _PARK
        goal = np.array([rng.uniform(x0 - 5, x1 + 5), y0 - 1.0])
        share = rng.uniform(0.35, 0.75) if large else rng.uniform(0.45, 0.96)
        x, y = eye[:2] + (goal - eye[:2]) * share
        away = math.hypot(x - eye[0], y - eye[1])
        if y > y0 - 3 or away < (7 if large else 5):
            continue
        turn = math.atan2(middle[0] - eye[0], middle[1] - eye[1])
        found.append(_stand(seed, rng, names[rng.integers(len(names))], float(x), float(y), -turn))
    return found


def _stand(seed: int, rng: np.random.Generator, name: str, x: Real, y: Real, turn: Real) -> Mesh:
    low, high = METRES[name]
    mesh = prop(seed, name, int(rng.integers(_VARIANTS)))
    return mesh.placed((x, y, 0.0), turn=turn + rng.uniform(-0.4, 0.4), scale=rng.uniform(low, high))


def aim(
    rng: np.random.Generator, subject: Mesh, size: tuple[int, int], *, fill: Real, shift: Real, detail: bool
) -> Camera:
    """A camera before the subject.

    Args:
        rng: the angle, the height and the distance.
        subject: looked at.
        size: width and height in pixels.
        fill: the larger of the subject's sides over the frame's.
        shift: how far the subject is moved from the middle, in shares of its own extent.
        detail: whether to look at any one place of the subject instead of its middle.
    """
    low, high = subject.bounds
    extent = float(np.linalg.norm(high - low))
    azimuth = float(np.clip(rng.normal(0, 0.5), -0.95, 0.95))
    elevated = rng.random() < 0.2
    up = rng.uniform(5, 25) if elevated else rng.uniform(1.5, 2.6)
    distance = extent * rng.uniform(0.85, 1.9) + 4
    middle = (low + high) / 2
    eye = np.array([middle[0] + math.sin(azimuth) * distance, low[1] - math.cos(azimuth) * distance, up])
    target = middle + rng.uniform(-0.1, 0.1, 3) * (high - low)
    camera = look(eye, target, 1.0, (0.0, 0.0), float(rng.normal(0, 0.025)))
    pixels, _ = camera.project(subject.vertices)
    least, most = pixels.min(0), pixels.max(0)
    focal = fill * float(np.min(np.array(size) / (most - least)))
    angle = rng.uniform(0, 2 * math.pi)
    offset = shift * (most - least) * np.array([math.cos(angle), 0.6 * math.sin(angle)])
    centre = (least + most) / 2 + offset
    if detail:
        centre = least + (most - least) * np.array([rng.uniform(0.2, 0.8), rng.uniform(0.25, 0.75)])
    place = np.array(size) / 2 - focal * centre
    return camera.scaled(focal, (float(place[0]), float(place[1])))
