"""Meshes onto pictures, far to near."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from experiments.synthetic import textures
from experiments.synthetic.camera import NEAR, Camera
from experiments.synthetic.light import Light
from experiments.synthetic.mesh import Mesh, Real

TINY = 0.35
"""Pixels; what is smaller in both directions is left out."""


def paint(image: Image.Image, mesh: Mesh, camera: Camera, light: Light) -> None:
    """Draws a mesh over the picture: back faces left out, blocks sorted by depth, masonry on its walls."""
    if _outside(mesh, camera, image.size):
        return
    vertices = _cast_shadows(mesh, light)
    pixels, depth = camera.project(vertices)
    keep = _visible(mesh, camera, pixels, depth, image.size)
    keep &= (mesh.cast == 0) | (_sunlit(mesh, light) > 0)
    distance = np.linalg.norm(mesh.vertices[mesh.starts[:-1]] - camera.position, axis=1)
    colours = np.clip(light.shade(mesh, distance) * 255, 0, 255).astype(int).tolist()
    draw, veil = ImageDraw.Draw(image), ImageDraw.Draw(image, "RGBA")
    strength = int(min(120, 130 * light.direct.mean()))
    near = np.minimum.reduceat(depth, mesh.starts[:-1]) < NEAR
    texture, cast, starts = mesh.textures.tolist(), mesh.cast.tolist(), (2 * mesh.starts).tolist()
    flat = pixels.ravel().tolist()
    for i in _order(mesh, camera, keep):
        outline = flat[starts[i] : starts[i + 1]]
        if near[i]:
            outline = _clipped(vertices[mesh.starts[i] : mesh.starts[i + 1]], camera)
            if len(outline) < 6:
                continue
        if cast[i]:
            veil.polygon(outline, (10, 12, 30, strength))
            continue
        draw.polygon(outline, tuple(colours[i]))
        if texture[i] >= 0:
            _clothe(image, mesh, i, camera, outline, fade=math.exp(-light.haze * distance[i] / 100))


def silhouette(mask: Image.Image, mesh: Mesh, camera: Camera, value: int) -> None:
    """Fills the outline of a mesh in an ``L`` picture."""
    if _outside(mesh, camera, mask.size):
        return
    pixels, depth = camera.project(mesh.vertices)
    draw = ImageDraw.Draw(mask)
    keep = _visible(mesh, camera, pixels, depth, mask.size) & mesh.solid & (mesh.cast == 0)
    near = np.minimum.reduceat(depth, mesh.starts[:-1]) < NEAR
    starts, flat = (2 * mesh.starts).tolist(), pixels.ravel().tolist()
    for i in np.flatnonzero(keep).tolist():
        outline = flat[starts[i] : starts[i + 1]]
        if near[i]:
            outline = _clipped(mesh.vertices[mesh.starts[i] : mesh.starts[i + 1]], camera)
        if len(outline) >= 6:
            draw.polygon(outline, value)


def _outside(mesh: Mesh, camera: Camera, size: tuple[int, int]) -> bool:
    """Whether a box around the mesh, shadows on its own walls included, is beside the picture or behind the camera."""
    margin = np.array([[-3.0], [3.0]]) if (mesh.cast > 0.01).any() else np.zeros((2, 1))
    corners = np.stack(np.meshgrid(*(mesh.bounds + margin).T), -1).reshape(-1, 3)
    pixels, depth = camera.project(corners)
    if depth.min() < NEAR:
        return bool(depth.max() < NEAR)
    return bool((pixels.max(0) < 0).any() or (pixels.min(0) > size).any())


def _visible(mesh: Mesh, camera: Camera, pixels: np.ndarray, depth: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    first = mesh.starts[:-1]
    facing = ((camera.position - mesh.vertices[first]) * mesh.normals).sum(1)
    keep = (facing > 0) | ~mesh.normals.any(1)
    keep &= np.maximum.reduceat(depth, first) > NEAR
    low, high = np.minimum.reduceat(pixels, first), np.maximum.reduceat(pixels, first)
    inside = (low < size).all(1) & (high > 0).all(1) & ((high - low).max(1) > TINY)
    crossing = np.minimum.reduceat(depth, first) < NEAR
    return keep & (inside | crossing)


def _sunlit(mesh: Mesh, light: Light) -> np.ndarray:
    height = mesh.normals @ light.sun
    return np.where((height > 0.12) & (light.direct.mean() > 0.3), height, 0.0)


def _cast_shadows(mesh: Mesh, light: Light) -> np.ndarray:
    """The vertices, those of shadows moved along the sun's rays onto their surface."""
    height = _sunlit(mesh, light)
    chosen = np.flatnonzero((mesh.cast > 0) & (height > 0))
    if not len(chosen):
        return mesh.vertices
    normals, cast = mesh.normals[chosen], mesh.cast[chosen, None]
    shift = -(light.sun - height[chosen, None] * normals) / height[chosen, None] * cast
    across = np.linalg.norm(shift[:, :2], axis=1, keepdims=True)
    shift[:, :2] *= np.minimum(1, 0.8 * cast / np.maximum(across, 1e-9))
    shift[:, 2:] = np.clip(shift[:, 2:], -2.2 * cast, 0.5 * cast)
    moves = np.zeros_like(mesh.normals)
    moves[chosen] = shift
    moved = mesh.vertices + np.repeat(moves, np.diff(mesh.starts), axis=0)
    moved[:, 2] = np.maximum(moved[:, 2], np.minimum(mesh.vertices[:, 2], 0.02))
    return moved


def _order(mesh: Mesh, camera: Camera, keep: np.ndarray) -> list[int]:
    """Polygons to paint: block by block, each after those that it may hide."""
    kept = np.flatnonzero(keep)
    blocks = np.unique(mesh.groups)
    if len(blocks) == 1:
        return kept.tolist()
    owner = np.repeat(np.searchsorted(blocks, mesh.groups), np.diff(mesh.starts))
    low, high = np.full((len(blocks), 3), np.inf), np.full((len(blocks), 3), -np.inf)
    np.minimum.at(low, owner, mesh.vertices)
    np.maximum.at(high, owner, mesh.vertices)
    slack = 0.35 * np.minimum(1.0, (high - low) / 4)
    rank = np.empty(len(blocks), int)
    rank[far_to_near(low + slack, high - slack, camera.position)] = np.arange(len(blocks))
    return kept[np.argsort(rank[np.searchsorted(blocks, mesh.groups[kept])], kind="stable")].tolist()


def far_to_near(low: np.ndarray, high: np.ndarray, eye: np.ndarray) -> list[int]:
    """The order in which to paint [b] boxes with corners [b, 3], seen from ``eye``."""
    before = _hidden_by(low, high, eye)
    far = -np.linalg.norm((low + high) / 2 - eye, axis=1)
    left, order = list(range(len(low))), []
    while left:
        free = [i for i in left if not before[left, i].any()] or left
        order.append(min(free, key=lambda i: (far[i], i)))
        left.remove(order[-1])
    return order


def _hidden_by(low: np.ndarray, high: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """[b, b] whether block i may be hidden by block j, by the planes that part their boxes."""
    below = high[:, None] <= low[None]  # i lies below j on an axis
    gap = (high[:, None] + low[None]) / 2
    j_near = (below & (eye > gap)) | (below.transpose(1, 0, 2) & (eye < gap.transpose(1, 0, 2)))
    j_near_any = j_near.any(-1)
    return j_near_any & ~j_near_any.T


def _clipped(points: np.ndarray, camera: Camera) -> list[Real]:
    """The outline of what lies before the camera."""
    seen = (points - camera.position) @ camera.rotation.T
    kept = []
    for a, b in zip(seen, np.roll(seen, -1, 0), strict=True):
        if a[2] >= NEAR:
            kept.append(a)
        if (a[2] >= NEAR) != (b[2] >= NEAR):
            kept.append(a + (b - a) * (NEAR - a[2]) / (b[2] - a[2]))
    if len(kept) < 3:
        return []
    inside = np.array(kept)
    pixels = inside[:, :2] * (camera.focal / inside[:, 2:]) + camera.centre
    return np.clip(pixels, -30000, 30000).ravel().tolist()


def _clothe(image: Image.Image, mesh: Mesh, i: int, camera: Camera, outline: Sequence[Real], fade: Real) -> None:
    """Multiplies the masonry of polygon i into its outline."""
    xs, ys = outline[::2], outline[1::2]
    left, top = max(0, math.floor(min(xs))), max(0, math.floor(min(ys)))
    right, bottom = min(image.width, math.ceil(max(xs)) + 1), min(image.height, math.ceil(max(ys)) + 1)
    if right - left < 3 or bottom - top < 3:
        return
    texture = int(mesh.textures[i])
    flat = mesh.flat[mesh.starts[i] : mesh.starts[i + 1]]
    (u0, v0, d), (u1, v1, _) = flat.min(0), flat.max(0)
    frame = mesh.frames[mesh.frame[i]]
    unit = float(np.linalg.norm(frame[1]))
    lifted = np.vstack([frame[0] + d * frame[3], frame[1:]])
    plane = camera.homography(lifted)
    middle = np.linalg.inv(plane) @ np.array([(left + right) / 2, (top + bottom) / 2, 1.0])
    pixels_per_metre = _density(plane, middle[:2] / middle[2]) / unit
    level = math.ceil(math.log2(max(textures.TEXELS / textures.METRES[texture] / pixels_per_metre, 1)) - 0.25)
    if level > 4:
        return
    cloth = textures.cloth(texture, level, (u1 - u0) * unit, (v1 - v0) * unit)
    texels = (textures.TEXELS >> level) / textures.METRES[texture] * unit
    onto = np.array([[texels, 0, -u0 * texels], [0, -texels, v1 * texels], [0, 0, 1.0]])
    back = onto @ np.linalg.inv(plane) @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1.0]])
    back /= back[2, 2]
    size = (right - left, bottom - top)
    warped = cloth.transform(
        size, Image.Transform.PERSPECTIVE, back.ravel()[:8].tolist(), Image.Resampling.BILINEAR, fillcolor=128
    )
    factor = np.asarray(warped, np.uint16)
    if fade < 0.9:
        factor = (128 + (factor.astype(np.int32) - 128) * fade).astype(np.uint16)
    region = np.asarray(image.crop((left, top, right, bottom)), np.uint16)
    textured = np.minimum((region * factor[..., None]) >> 7, 255).astype(np.uint8)
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).polygon([c - (left, top)[k % 2] for k, c in enumerate(outline)], 255)
    image.paste(Image.fromarray(textured), (left, top), mask)


def _density(plane: np.ndarray, at: np.ndarray) -> float:
    """Pixels per unit of a plane around (u, v), the smaller of the two directions weighing more."""
    (x, y, w) = plane @ np.array([at[0], at[1], 1.0])
    jacobian = np.array([(plane[0, :2] - x / w * plane[2, :2]) / w, (plane[1, :2] - y / w * plane[2, :2]) / w])
    across, down = np.linalg.norm(jacobian, axis=0)
    return float(max(min(across, down), 1e-6) ** 0.6 * max(across, down) ** 0.4)
