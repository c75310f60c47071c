"""This module paints meshes onto pictures, the farthest polygons first."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from experiments.synthetic import textures
from experiments.synthetic.camera import NEAR_M, Camera
from experiments.synthetic.light import Light
from experiments.synthetic.mesh import Mesh, Real

MIN_SIZE_PX = 0.35
"""The least width or height of a polygon; polygons that are smaller in both directions are left out."""


def paint_mesh(image: Image.Image, mesh: Mesh, camera: Camera, light: Light) -> None:
    """Paints a mesh over the picture, group by group from far to near, with textures and without back faces."""
    if _is_outside(mesh, camera, image.size):
        return
    vertices = _cast_shadows(mesh, light)
    pixels, depth = camera.project(vertices)
    keep = _find_visible(mesh, camera, pixels, depth, image.size)
    keep &= (mesh.cast == 0) | (_sun_heights(mesh, light) > 0)
    distance = np.linalg.norm(mesh.vertices[mesh.starts[:-1]] - camera.position, axis=1)
    colours = np.clip(light.shade(mesh, distance) * 255, 0, 255).astype(int).tolist()
    draw, veil = ImageDraw.Draw(image), ImageDraw.Draw(image, "RGBA")
    strength = int(min(120, 130 * light.direct.mean()))
    near = np.minimum.reduceat(depth, mesh.starts[:-1]) < NEAR_M
    texture, cast, starts = mesh.textures.tolist(), mesh.cast.tolist(), (2 * mesh.starts).tolist()
    flat = pixels.ravel().tolist()
    for i in _paint_order(mesh, camera, keep):
        outline = flat[starts[i] : starts[i + 1]]
        if near[i]:
            outline = _clip_to_near_plane(vertices[mesh.starts[i] : mesh.starts[i + 1]], camera)
            if len(outline) < 6:
                continue
        if cast[i]:
            veil.polygon(outline, (10, 12, 30, strength))
            continue
        draw.polygon(outline, tuple(colours[i]))
        if texture[i] >= 0:
            _apply_texture(image, mesh, i, camera, outline, fade=math.exp(-light.haze * distance[i] / 100))


def fill_silhouette(mask: Image.Image, mesh: Mesh, camera: Camera, value: int) -> None:
    """Fills the silhouette of a mesh in an ``L`` picture."""
    if _is_outside(mesh, camera, mask.size):
        return
    pixels, depth = camera.project(mesh.vertices)
    draw = ImageDraw.Draw(mask)
    keep = _find_visible(mesh, camera, pixels, depth, mask.size) & mesh.solid & (mesh.cast == 0)
    near = np.minimum.reduceat(depth, mesh.starts[:-1]) < NEAR_M
    starts, flat = (2 * mesh.starts).tolist(), pixels.ravel().tolist()
    for i in np.flatnonzero(keep).tolist():
        outline = flat[starts[i] : starts[i + 1]]
        if near[i]:
            outline = _clip_to_near_plane(mesh.vertices[mesh.starts[i] : mesh.starts[i + 1]], camera)
        if len(outline) >= 6:
            draw.polygon(outline, value)


def _is_outside(mesh: Mesh, camera: Camera, size: tuple[int, int]) -> bool:
    """Returns whether the mesh, with the shadows on its walls, is outside the picture or behind the camera.

    A box around the mesh stands for the mesh, so some meshes outside the picture are not recognised.
    """
    margin = np.array([[-3.0], [3.0]]) if (mesh.cast > 0.01).any() else np.zeros((2, 1))
    corners = np.stack(np.meshgrid(*(mesh.bounds + margin).T), -1).reshape(-1, 3)
    pixels, depth = camera.project(corners)
    if depth.min() < NEAR_M:
        return bool(depth.max() < NEAR_M)
    return bool((pixels.max(0) < 0).any() or (pixels.min(0) > size).any())


def _find_visible(
    mesh: Mesh, camera: Camera, pixels: np.ndarray, depth: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Returns which polygons, shape [p], face the camera and are large enough inside the picture."""
    first = mesh.starts[:-1]
    facing = ((camera.position - mesh.vertices[first]) * mesh.normals).sum(1)
    keep = (facing > 0) | ~mesh.normals.any(1)
    keep &= np.maximum.reduceat(depth, first) > NEAR_M
    low, high = np.minimum.reduceat(pixels, first), np.maximum.reduceat(pixels, first)
    inside = (low < size).all(1) & (high > 0).all(1) & ((high - low).max(1) > MIN_SIZE_PX)
    crossing = np.minimum.reduceat(depth, first) < NEAR_M
    return keep & (inside | crossing)


def _sun_heights(mesh: Mesh, light: Light) -> np.ndarray:
    """Returns the sine of the sun's height over each polygon, shape [p]; 0 where the sun casts no shadows."""
    height = mesh.normals @ light.sun
    return np.where((height > 0.12) & (light.direct.mean() > 0.3), height, 0.0)


def _cast_shadows(mesh: Mesh, light: Light) -> np.ndarray:
    """Returns the vertices, with the vertices of shadows moved along the sun's rays onto their surface."""
    height = _sun_heights(mesh, light)
    shadows = np.flatnonzero((mesh.cast > 0) & (height > 0))
    if not len(shadows):
        return mesh.vertices
    normals, cast = mesh.normals[shadows], mesh.cast[shadows, None]
    shift = -(light.sun - height[shadows, None] * normals) / height[shadows, None] * cast
    across = np.linalg.norm(shift[:, :2], axis=1, keepdims=True)
    shift[:, :2] *= np.minimum(1, 0.8 * cast / np.maximum(across, 1e-9))
    shift[:, 2:] = np.clip(shift[:, 2:], -2.2 * cast, 0.5 * cast)
    moves = np.zeros_like(mesh.normals)
    moves[shadows] = shift
    moved = mesh.vertices + np.repeat(moves, np.diff(mesh.starts), axis=0)
    moved[:, 2] = np.maximum(moved[:, 2], np.minimum(mesh.vertices[:, 2], 0.02))
    return moved


def _paint_order(mesh: Mesh, camera: Camera, keep: np.ndarray) -> list[int]:
    """Returns the numbers of the kept polygons, group by group; each group follows the groups that it may hide."""
    polygons = np.flatnonzero(keep)
    groups = np.unique(mesh.groups)
    if len(groups) == 1:
        return polygons.tolist()
    vertex_groups = np.repeat(np.searchsorted(groups, mesh.groups), np.diff(mesh.starts))
    low, high = np.full((len(groups), 3), np.inf), np.full((len(groups), 3), -np.inf)
    np.minimum.at(low, vertex_groups, mesh.vertices)
    np.maximum.at(high, vertex_groups, mesh.vertices)
    slack = 0.35 * np.minimum(1.0, (high - low) / 4)
    rank = np.empty(len(groups), int)
    rank[far_to_near(low + slack, high - slack, camera.position)] = np.arange(len(groups))
    return polygons[np.argsort(rank[np.searchsorted(groups, mesh.groups[polygons])], kind="stable")].tolist()


def far_to_near(low: np.ndarray, high: np.ndarray, eye: np.ndarray) -> list[int]:
    """Returns the order in which to paint b boxes, seen from ``eye``; their corners ``low`` and ``high`` are [b, 3]."""
    may_be_hidden = _may_be_hidden(low, high, eye)
    nearness = -np.linalg.norm((low + high) / 2 - eye, axis=1)
    remaining, order = list(range(len(low))), []
    while remaining:
        free = [i for i in remaining if not may_be_hidden[remaining, i].any()] or remaining
        order.append(min(free, key=lambda i: (nearness[i], i)))
        remaining.remove(order[-1])
    return order


def _may_be_hidden(low: np.ndarray, high: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """Returns whether box i may be hidden by box j, shape [b, b], from the planes that separate two boxes."""
    below = high[:, None] <= low[None]  # box i lies below box j on an axis
    gap = (high[:, None] + low[None]) / 2
    j_near = (below & (eye > gap)) | (below.transpose(1, 0, 2) & (eye < gap.transpose(1, 0, 2)))
    j_near_any = j_near.any(-1)
    return j_near_any & ~j_near_any.T


def _clip_to_near_plane(points: np.ndarray, camera: Camera) -> list[Real]:
    """Returns the outline in pixels, x and y in turn, of the part of a polygon in front of the near plane."""
    camera_points = (points - camera.position) @ camera.rotation.T
    clipped = []
    for a, b in zip(camera_points, np.roll(camera_points, -1, 0), strict=True):
        if a[2] >= NEAR_M:
            clipped.append(a)
        if (a[2] >= NEAR_M) != (b[2] >= NEAR_M):
            clipped.append(a + (b - a) * (NEAR_M - a[2]) / (b[2] - a[2]))
    if len(clipped) < 3:
        return []
    inside = np.array(clipped)
    pixels = inside[:, :2] * (camera.focal / inside[:, 2:]) + camera.centre
    return np.clip(pixels, -30000, 30000).ravel().tolist()


def _apply_texture(image: Image.Image, mesh: Mesh, i: int, camera: Camera, outline: Sequence[Real], fade: Real) -> None:
    """Multiplies the texture of polygon i into the picture, inside the outline of the polygon."""
    xs, ys = outline[::2], outline[1::2]
    left, top = max(0, math.floor(min(xs))), max(0, math.floor(min(ys)))
    right, bottom = min(image.width, math.ceil(max(xs)) + 1), min(image.height, math.ceil(max(ys)) + 1)
    if right - left < 3 or bottom - top < 3:
        return
    texture = int(mesh.textures[i])
    plane_points = mesh.plane_points[mesh.starts[i] : mesh.starts[i + 1]]
    (u0, v0, d), (u1, v1, _) = plane_points.min(0), plane_points.max(0)
    frame = mesh.frames[mesh.frame_ids[i]]
    metres_per_unit = float(np.linalg.norm(frame[1]))
    polygon_frame = np.vstack([frame[0] + d * frame[3], frame[1:]])
    plane_to_pixels = camera.homography(polygon_frame)
    middle = np.linalg.inv(plane_to_pixels) @ np.array([(left + right) / 2, (top + bottom) / 2, 1.0])
    pixels_per_metre = _pixel_density(plane_to_pixels, middle[:2] / middle[2]) / metres_per_unit
    level = math.ceil(math.log2(max(textures.TILE_TEXELS / textures.TILE_METRES[texture] / pixels_per_metre, 1)) - 0.25)
    if level > 4:
        return
    tiles = textures.repeat_tile(texture, level, (u1 - u0) * metres_per_unit, (v1 - v0) * metres_per_unit)
    texels_per_unit = (textures.TILE_TEXELS >> level) / textures.TILE_METRES[texture] * metres_per_unit
    plane_to_texels = np.array(
        [[texels_per_unit, 0, -u0 * texels_per_unit], [0, -texels_per_unit, v1 * texels_per_unit], [0, 0, 1.0]]
    )
    pixels_to_texels = (
        plane_to_texels @ np.linalg.inv(plane_to_pixels) @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1.0]])
    )
    pixels_to_texels /= pixels_to_texels[2, 2]
    size = (right - left, bottom - top)
    warped = tiles.transform(
        size,
        Image.Transform.PERSPECTIVE,
        pixels_to_texels.ravel()[:8].tolist(),
        Image.Resampling.BILINEAR,
        fillcolor=128,
    )
    factor = np.asarray(warped, np.uint16)
    if fade < 0.9:
        factor = (128 + (factor.astype(np.int32) - 128) * fade).astype(np.uint16)
    patch = np.asarray(image.crop((left, top, right, bottom)), np.uint16)
    textured = np.minimum((patch * factor[..., None]) >> 7, 255).astype(np.uint8)
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).polygon([c - (left, top)[k % 2] for k, c in enumerate(outline)], 255)
    image.paste(Image.fromarray(textured), (left, top), mask)


def _pixel_density(plane_to_pixels: np.ndarray, point: np.ndarray) -> float:
    """Returns pixels per unit of a plane around (u, v); the direction with fewer pixels weighs more."""
    (x, y, w) = plane_to_pixels @ np.array([point[0], point[1], 1.0])
    jacobian = np.array(
        [
            (plane_to_pixels[0, :2] - x / w * plane_to_pixels[2, :2]) / w,
            (plane_to_pixels[1, :2] - y / w * plane_to_pixels[2, :2]) / w,
        ]
    )
    across, down = np.linalg.norm(jacobian, axis=0)
    return float(max(min(across, down), 1e-6) ** 0.6 * max(across, down) ** 0.4)
