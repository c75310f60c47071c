"""This module holds meshes of planar polygons, and the planes on which parts, buildings and people are drawn."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    Real = float
else:
    from numbers import Real  # checked at run time, where an int is no float

Colour = tuple[Real, Real, Real]
Point = tuple[Real, Real]
Vector = Sequence[Real] | np.ndarray

COUNT, FRAME, GROUP, RED, NORMAL, GLOW, CAST, TEXTURE, SOLID = 0, 1, 2, 3, 6, 9, 10, 11, 12
"""Columns of a row of `Sketch.rows`; RED and NORMAL each begin three columns."""


@dataclasses.dataclass(frozen=True)
class Mesh:
    """A `Mesh` holds the p polygons of one object, with v vertices, on f planes.

    The polygons of a group are painted in their order, and groups from far to near.

    Attributes:
        vertices: shape [v, 3], metres; z points up.
        starts: shape [p + 1]; polygon i has the vertices ``starts[i]:starts[i + 1]``.
        colours: shape [p, 3]; albedo, 0 to 1.
        normals: shape [p, 3]; unit vectors, or zeros for a polygon that is seen from both sides.
        groups: shape [p]; the group of each polygon; a group is a roughly convex part of the object.
        glow: shape [p]; 0, or the rank in (0, 1] at which a pane or a lamp lights up at night.
        cast: shape [p]; 0, or for a shadow the distance from the shadowed surface to the edge that casts the shadow.
        textures: shape [p]; -1, or an index into `textures.NAMES`.
        solid: shape [p]; whether a polygon may reach beyond earlier polygons (details inside a wall do not).
        frames: shape [f, 4, 3]; origin, u, v and normal of each plane.
        frame_ids: shape [p]; the plane of each polygon, an index into ``frames``.
        plane_points: shape [v, 3]; the vertices in the coordinates (u, v, d) of their planes.
    """

    vertices: np.ndarray
    starts: np.ndarray
    colours: np.ndarray
    normals: np.ndarray
    groups: np.ndarray
    glow: np.ndarray
    cast: np.ndarray
    textures: np.ndarray
    solid: np.ndarray
    frames: np.ndarray
    frame_ids: np.ndarray
    plane_points: np.ndarray

    def __len__(self) -> int:
        return len(self.colours)

    @functools.cached_property
    def bounds(self) -> np.ndarray:
        """Returns the lowest and the highest corner, shape [2, 3]."""
        return np.stack([self.vertices.min(0), self.vertices.max(0)])

    def transformed(self, position: Sequence[Real], *, turn: Real = 0.0, scale: Real = 1.0) -> "Mesh":
        """Returns a copy that is scaled, turned about the vertical by ``turn`` radians and moved by ``position``."""
        cos, sin = math.cos(turn), math.sin(turn)
        rotation = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
        frames = self.frames @ (rotation * scale)
        frames[:, 0] += np.asarray(position)
        return dataclasses.replace(
            self,
            vertices=self.vertices @ (rotation * scale) + np.asarray(position),
            normals=self.normals @ rotation,
            cast=self.cast * scale,
            frames=frames,
        )


class Sketch:
    """A `Sketch` collects polygons plane by plane; `finish` turns the polygons into a `Mesh`.

    A sketch that is ``frontal`` leaves out the backs of round objects: its mesh must be seen from in front.
    """

    def __init__(self, *, frontal: bool = False) -> None:
        self.frontal = frontal
        self.frames: list[np.ndarray] = []
        self.points: list[tuple[Real, Real, Real]] = []
        self.rows: list[tuple[Real, ...]] = []
        self.groups = 0

    def plane(self, origin: Vector, u: Vector, v: Vector, *, group: int = -1) -> "Plane":
        """Returns a plane through ``origin`` that faces u x v, in a new group if ``group`` is negative."""
        if group < 0:
            group = self.groups
            self.groups += 1
        ou, ov = np.asarray(u, float), np.asarray(v, float)
        normal = np.cross(ou, ov) / math.sqrt(float(ou @ ou))
        return Plane(self, np.stack([np.asarray(origin, float), ou, ov, normal]), group)

    def front(self, x: Real = 0.0, y: Real = 0.0, z: Real = 0.0, scale: Real = 1.0) -> "Plane":
        """Returns an upright plane that faces the viewer (-y)."""
        return self.plane((x, y, z), (scale, 0.0, 0.0), (0.0, 0.0, scale))

    def finish(self) -> Mesh:
        """Returns the mesh of the polygons so far, in world coordinates."""
        rows = np.array(self.rows, float).reshape(-1, 13)
        counts = rows[:, COUNT].astype(int)
        frame_ids = rows[:, FRAME].astype(int)
        frames = np.array(self.frames).reshape(-1, 4, 3)
        plane_points = np.array(self.points, float).reshape(-1, 3)
        vertex_frames = frames[np.repeat(frame_ids, counts)]
        vertices = vertex_frames[:, 0] + np.einsum("vi,vij->vj", plane_points, vertex_frames[:, 1:])
        normals = np.einsum("pi,pij->pj", rows[:, NORMAL : NORMAL + 3], frames[frame_ids][:, 1:])
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        return Mesh(
            vertices=vertices,
            starts=np.concatenate([[0], np.cumsum(counts)]),
            colours=rows[:, RED : RED + 3],
            normals=normals / np.maximum(length, 1e-9),
            groups=rows[:, GROUP].astype(int),
            glow=rows[:, GLOW],
            cast=rows[:, CAST] * np.linalg.norm(frames[frame_ids][:, 3], axis=1),
            textures=rows[:, TEXTURE].astype(int),
            solid=rows[:, SOLID] > 0,
            frames=frames,
            frame_ids=frame_ids,
            plane_points=plane_points,
        )


class Plane:
    """A `Plane` is drawn on: u points right, v up and d towards the viewer, in units of the plane's scale."""

    def __init__(self, sketch: Sketch, frame: np.ndarray, group: int) -> None:
        self.sketch = sketch
        self.frame = frame
        self.group = group
        self.index = len(sketch.frames)
        sketch.frames.append(frame)

    def at(self, u: Real, v: Real, scale: Real = 1.0, d: Real = 0.0) -> "Plane":
        """Returns a parallel plane with its origin at (u, v, d) of this plane, magnified by ``scale``."""
        origin = self.frame[0] + u * self.frame[1] + v * self.frame[2] + d * self.frame[3]
        return Plane(self.sketch, np.vstack([origin, self.frame[1:] * scale]), self.group)

    def turned(self, angle: Real, u: Real = 0.0, d: Real = 0.0, *, group: bool = False) -> "Plane":
        """Returns the plane through (u, 0, d), turned about the upright axis by ``angle`` radians."""
        o, x, y, n = self.frame
        cos, sin = math.cos(angle), math.sin(angle)
        rows = np.stack([o + u * x + d * n, cos * x - sin * n, y, cos * n + sin * x])
        if group:
            self.sketch.groups += 1
        return Plane(self.sketch, rows, self.sketch.groups - 1 if group else self.group)

    def polygon(
        self,
        points: Iterable[Point],
        colour: Colour,
        d: Real = 0.0,
        *,
        normal: Colour = (0.0, 0.0, 1.0),
        glow: Real = 0.0,
        cast: Real = 0.0,
        texture: int = -1,
        solid: bool = False,
    ) -> None:
        """Adds a polygon parallel to the plane, ``d`` in front of the plane."""
        self.surface([(u, v, d) for u, v in points], colour, normal, glow, cast, texture, solid)

    def surface(
        self,
        points: Sequence[tuple[Real, Real, Real]],
        colour: Colour,
        normal: Colour,
        glow: Real = 0.0,
        cast: Real = 0.0,
        texture: int = -1,
        solid: bool = True,
    ) -> None:
        """Adds a flat polygon of any direction; its points are in the coordinates (u, v, d) of the plane."""
        self.sketch.points.extend(points)
        row = (len(points), self.index, self.group, *colour, *normal, glow, cast, texture, solid)
        self.sketch.rows.append(row)

    def rect(self, u0: Real, v0: Real, u1: Real, v1: Real, colour: Colour, d: Real = 0.0, **flags: Real) -> None:
        """Adds an upright rectangle."""
        self.polygon(((u0, v0), (u1, v0), (u1, v1), (u0, v1)), colour, d, **flags)  # type: ignore[arg-type]

    def wall(self, u0: Real, v0: Real, u1: Real, v1: Real, colour: Colour, texture: int = -1) -> None:
        """Adds a rectangle that may be part of the outline of the object."""
        self.polygon(((u0, v0), (u1, v0), (u1, v1), (u0, v1)), colour, texture=texture, solid=True)

    def ring(self, outer: Sequence[Point], inner: Sequence[Point], colour: Colour, d: Real = 0.0) -> None:
        """Adds the area between two closed outlines of the same direction."""
        self.polygon([*outer, outer[0], inner[0], *reversed(inner)], colour, d)

    def disc(self, u: Real, v: Real, radius: Real, colour: Colour, d: Real = 0.0, **flags: Real) -> None:
        """Adds a disc."""
        self.polygon(ellipse(u, v, radius, radius), colour, d, **flags)  # type: ignore[arg-type]

    def line(self, start: Point, end: Point, width: Real, colour: Colour, d: Real = 0.0) -> None:
        """Adds a straight bar, which may be part of the outline of the object."""
        du, dv = end[0] - start[0], end[1] - start[1]
        scale = width / 2 / max(math.hypot(du, dv), 1e-9)
        a, b = -dv * scale, du * scale
        corners = (start[0] + a, start[1] + b), (start[0] - a, start[1] - b), (end[0] - a, end[1] - b)
        self.polygon((*corners, (end[0] + a, end[1] + b)), colour, d, normal=(0.0, 0.0, 0.0), solid=True)

    def shadow(self, points: Sequence[Point], cast: Real, d: Real = 0.0) -> None:
        """Adds the shadow on the plane of a flat shape ``cast`` in front of the plane."""
        self.polygon(points, (0.0, 0.0, 0.0), d, cast=cast)

    def box(
        self,
        u0: Real,
        v0: Real,
        u1: Real,
        v1: Real,
        colour: Colour,
        d: Real,
        d0: Real = 0.0,
        *,
        shadow: bool = True,
        texture: int = -1,
    ) -> None:
        """Adds a block that stands out of the plane from ``d0`` to ``d``."""
        if shadow and d0 == 0:
            self.shadow(((u0, v0), (u1, v0), (u1, v1), (u0, v1)), d)
        for u, side in ((u0, -1.0), (u1, 1.0)):
            self.surface([(u, v0, d0), (u, v0, d), (u, v1, d), (u, v1, d0)], colour, (side, 0.0, 0.0))
        for v, side in ((v0, -1.0), (v1, 1.0)):
            self.surface([(u0, v, d0), (u1, v, d0), (u1, v, d), (u0, v, d)], colour, (0.0, side, 0.0))
        self.polygon(((u0, v0), (u1, v0), (u1, v1), (u0, v1)), colour, d, texture=texture, solid=True)

    def revolve(
        self, profile: Sequence[Point], colours: Sequence[Colour], *, u: Real = 0.0, d: Real = 0.0, sides: int = 16
    ) -> None:
        """Adds a surface of revolution about the upright axis through (u, d).

        Args:
            profile: pairs (radius, v) from top to bottom.
            colours: colours of the facets around the axis, repeated in turn.
            u: position of the axis along the plane.
            d: position of the axis in front of the plane.
            sides: number of facets around the axis.
        """
        angles = [2 * math.pi * (i + 0.5) / sides for i in range(sides + 1)]
        turns = [(math.sin(angle), math.cos(angle)) for angle in angles]
        for (r1, v1), (r0, v0) in itertools.pairwise(profile):
            length = max(math.hypot(r0 - r1, v1 - v0), 1e-9)
            out, up = (v1 - v0) / length, (r0 - r1) / length
            for i in range(sides):
                (s0, c0), (s1, c1) = turns[i], turns[i + 1]
                if self.sketch.frontal and c0 + c1 < -1.2:
                    continue
                middle = (angles[i] + angles[i + 1]) / 2
                corners = [(u + r0 * s0, v0, d + r0 * c0), (u + r0 * s1, v0, d + r0 * c1)]
                corners += [(u + r1 * s1, v1, d + r1 * c1), (u + r1 * s0, v1, d + r1 * c0)]
                normal = (out * math.sin(middle), up, out * math.cos(middle))
                self.surface(corners, colours[i % len(colours)], normal)


def ellipse(u: Real, v: Real, ru: Real, rv: Real, start: Real = 0.0, end: Real = 2 * math.pi) -> list[Point]:
    """Returns points on an arc of an ellipse, counterclockwise; a whole ellipse does not repeat its first point."""
    count = max(6, round(16 * (end - start) / (2 * math.pi)))
    steps = count if end - start > 6.28 else count - 1
    return [
        (u + ru * math.cos(start + (end - start) * i / steps), v + rv * math.sin(start + (end - start) * i / steps))
        for i in range(count)
    ]


def opening(kind: str, u: Real, v: Real, width: Real, height: Real) -> list[Point]:
    """Returns the outline of an opening that stands on (u, v): ``flat``, ``round``, ``segment`` or ``pointed``."""
    left, right, half = u - width / 2, u + width / 2, width / 2
    foot: list[Point] = [(left, v), (right, v)]
    if kind == "round":
        spring = max(v + height - half, v)
        return [*foot, *ellipse(u, spring, half, v + height - spring, 0, math.pi)]
    if kind == "segment":
        return [*foot, *ellipse(u, v + height - half * 0.35, half, half * 0.35, 0, math.pi)]
    if kind == "pointed":
        spring = max(v + height - 0.866 * width, v)
        rise = (v + height - spring) / 0.866
        bends = [math.pi / 3 * i / 4 for i in range(5)]
        side = [(left + width * math.cos(a), spring + rise * math.sin(a)) for a in bends]
        return [*foot, *side, *[(2 * u - x, y) for x, y in reversed(side[:-1])]]
    return [*foot, (right, v + height), (left, v + height)]
