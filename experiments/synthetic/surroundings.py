"""Sky, clouds and ground."""

import math

import numpy as np
from PIL import Image

from experiments.synthetic import textures
from experiments.synthetic.camera import Camera
from experiments.synthetic.light import Light
from experiments.synthetic.mesh import Colour, Mesh, Sketch

GROUNDS: dict[str, tuple[int, Colour]] = {
    "grass": (textures.GRASS, (0.36, 0.45, 0.2)),
    "paving": (textures.PAVING, (0.62, 0.6, 0.56)),
    "asphalt": (textures.ASPHALT, (0.34, 0.34, 0.36)),
    "gravel": (textures.ASPHALT, (0.66, 0.6, 0.5)),
    "water": (textures.WATER, (0.26, 0.36, 0.4)),
}

REACH = 900.0
"""Metres to where the ground ends."""


def sky(size: tuple[int, int], camera: Camera, light: Light, rng: np.random.Generator) -> Image.Image:
    """A gradient from the horizon up, with clouds; all of the picture, [width, height]."""
    width, height = size
    forward = camera.rotation[2]
    horizon = camera.centre[1] + camera.focal * math.tan(math.asin(float(np.clip(forward[2], -1, 1))))
    rows = (horizon - np.arange(0, height, 4)) / max(camera.focal, height * 0.8)
    rise = np.clip(rows, 0, 1)[:, None, None] ** 0.6
    columns = -(-width // 4)
    base = light.horizon + (light.zenith - light.horizon) * rise
    picture = np.repeat(base, columns, 1)
    if light.clouds > 0.15:
        cover = np.zeros((len(rows), columns))
        for step, weight in ((5, 0.55), (10, 0.3), (21, 0.15)):
            coarse = rng.standard_normal((max(3, step), max(2, step * 2 // 3))).astype(np.float32)
            fine = Image.fromarray(coarse).resize((columns, len(rows)), Image.Resampling.BICUBIC)
            cover += weight * np.asarray(fine)
        cover = np.clip((cover - 0.55 + 0.9 * light.clouds) * 1.6, 0, 1)[..., None]
        bright = np.clip(0.6 * light.horizon + 0.45 * light.direct + 0.25 * light.ambient, 0, 1)
        shaded = bright * (1 - 0.22 * cover * (0.3 + light.clouds))
        picture = picture + (shaded - picture) * cover * 0.85
    small = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
    return small.resize((columns * 4, len(rows) * 4), Image.Resampling.BILINEAR).crop((0, 0, width, height))


def ground(camera: Camera, kind: str, rng: np.random.Generator) -> Mesh:
    """Strips of ground across the line of sight, wider and coarser with distance."""
    sketch = Sketch()
    texture, colour = GROUNDS[kind]
    tint = 1 + 0.08 * rng.standard_normal()
    colour = (colour[0] * tint, colour[1] * tint, colour[2] * tint)
    forward = camera.rotation[2] * (1, 1, 0)
    forward /= np.linalg.norm(forward)
    right = np.array([forward[1], -forward[0], 0.0])
    start = np.array([camera.position[0], camera.position[1], 0.0])
    plane = sketch.plane(start, right, forward)
    near = max(0.6, camera.position[2])
    edges = [-2.0]
    while near < REACH:
        edges.append(near)
        near *= 1.7
    edges.append(REACH)
    for a, b in zip(edges[::-1][1:], edges[::-1], strict=False):
        wide = 2 * b + 5
        plane.wall(-wide, a, wide, b, colour, texture if b < 150 else -1)
    return sketch.finish()


def ground_shadow(meshes: list[Mesh], light: Light) -> Mesh | None:
    """What the blocks of standing objects darken on the ground; None without sun."""
    if light.sun[2] < 0.12 or light.direct.mean() < 0.3:
        return None
    sketch = Sketch()
    plane = sketch.plane((0, 0, 0.0), (1, 0, 0), (0, 1, 0))
    shift = light.sun[:2] / max(float(light.sun[2]), 0.35)
    angles = np.arange(12) * (math.pi / 6)
    directions = np.stack([np.cos(angles), np.sin(angles)])
    for mesh in meshes:
        flat = mesh.vertices[:, :2] - mesh.vertices[:, 2:] * shift
        reach = flat @ directions
        owner = np.repeat(mesh.groups, np.diff(mesh.starts))
        for group in np.flatnonzero(np.bincount(mesh.groups)):
            own = np.flatnonzero(owner == group)
            # The extreme points in directions against the clock are the corners of a convex outline in order.
            hull = flat[own[reach[own].argmax(0)]]
            plane.polygon([(u, v) for u, v in hull.tolist()], (0, 0, 0), cast=1e-6)
    return sketch.finish() if sketch.rows else None
