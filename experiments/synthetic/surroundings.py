"""This module paints the sky and builds the ground and the shadows on the ground."""

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
"""Texture and colour of each kind of ground."""

GROUND_END_M = 900.0
"""Distance from the camera at which the ground ends."""


def paint_sky(size: tuple[int, int], camera: Camera, light: Light, rng: np.random.Generator) -> Image.Image:
    """Returns a picture of the given (width, height) with a gradient from the horizon up, and with clouds."""
    width, height = size
    forward = camera.rotation[2]
    horizon = camera.centre[1] + camera.focal * math.tan(math.asin(float(np.clip(forward[2], -1, 1))))
    heights = (horizon - np.arange(0, height, 4)) / max(camera.focal, height * 0.8)
    height_share = np.clip(heights, 0, 1)[:, None, None] ** 0.6
    columns = -(-width // 4)
    gradient = light.horizon + (light.zenith - light.horizon) * height_share
    picture = np.repeat(gradient, columns, 1)
    if light.clouds > 0.15:
        cloud_cover = np.zeros((len(heights), columns))
        for cells, weight in ((5, 0.55), (10, 0.3), (21, 0.15)):
            coarse = rng.standard_normal((max(3, cells), max(2, cells * 2 // 3))).astype(np.float32)
            fine = Image.fromarray(coarse).resize((columns, len(heights)), Image.Resampling.BICUBIC)
            cloud_cover += weight * np.asarray(fine)
        cloud_cover = np.clip((cloud_cover - 0.55 + 0.9 * light.clouds) * 1.6, 0, 1)[..., None]
        bright = np.clip(0.6 * light.horizon + 0.45 * light.direct + 0.25 * light.ambient, 0, 1)
        shaded = bright * (1 - 0.22 * cloud_cover * (0.3 + light.clouds))
        picture = picture + (shaded - picture) * cloud_cover * 0.85
    small = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
    return small.resize((columns * 4, len(heights) * 4), Image.Resampling.BILINEAR).crop((0, 0, width, height))


def build_ground(camera: Camera, kind: str, rng: np.random.Generator) -> Mesh:
    """Returns strips of ground across the line of sight; distant strips are deeper and have no texture."""
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
    while near < GROUND_END_M:
        edges.append(near)
        near *= 1.7
    edges.append(GROUND_END_M)
    for near_edge, far_edge in zip(edges[::-1][1:], edges[::-1], strict=False):
        half_width = 2 * far_edge + 5
        plane.wall(-half_width, near_edge, half_width, far_edge, colour, texture if far_edge < 150 else -1)
    return sketch.finish()


def build_ground_shadow(meshes: list[Mesh], light: Light) -> Mesh | None:
    """Returns the shadows that the groups of the meshes cast on the ground; None without sun."""
    if light.sun[2] < 0.12 or light.direct.mean() < 0.3:
        return None
    sketch = Sketch()
    plane = sketch.plane((0, 0, 0.0), (1, 0, 0), (0, 1, 0))
    shift = light.sun[:2] / max(float(light.sun[2]), 0.35)
    angles = np.arange(12) * (math.pi / 6)
    directions = np.stack([np.cos(angles), np.sin(angles)])
    for mesh in meshes:
        shadow_points = mesh.vertices[:, :2] - mesh.vertices[:, 2:] * shift
        extents = shadow_points @ directions
        vertex_groups = np.repeat(mesh.groups, np.diff(mesh.starts))
        for group in np.flatnonzero(np.bincount(mesh.groups)):
            members = np.flatnonzero(vertex_groups == group)
            # The extreme points in counterclockwise directions are the corners of the convex hull in order.
            hull = shadow_points[members[extents[members].argmax(0)]]
            plane.polygon([(u, v) for u, v in hull.tolist()], (0, 0, 0), cast=1e-6)
    return sketch.finish() if sketch.rows else None
