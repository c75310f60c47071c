"""Sun, sky and air."""

import dataclasses
import math

import numpy as np

from experiments.synthetic.mesh import Mesh, Real


@dataclasses.dataclass(frozen=True)
class Light:
    """What falls on a scene.

    Attributes:
        name: ``day``, ``overcast``, ``dusk`` or ``night``.
        sun: [3] unit vector towards the sun.
        direct: [3] colour of the sun.
        ambient: [3] colour of the shade.
        zenith: [3] sky overhead.
        horizon: [3] sky at the horizon.
        haze: share of the horizon's colour that 100 m of air add, in nats.
        lit: share of windows that are lit.
        clouds: 0..1.
    """

    name: str
    sun: np.ndarray
    direct: np.ndarray
    ambient: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    haze: Real
    lit: Real
    clouds: Real

    def shade(self, mesh: Mesh, distance: np.ndarray) -> np.ndarray:
        """[p, 3] colours in 0..1 (above where glaring) of polygons at [p] metres."""
        lambert = mesh.normals @ self.sun
        foliage = ~mesh.normals.any(1)
        lambert = np.where(foliage, 0.55, np.maximum(lambert, 0))
        open_sky = 0.85 + 0.25 * mesh.normals[:, 2]
        colours = mesh.colours * (self.ambient * open_sky[:, None] + self.direct * lambert[:, None])
        pane = (mesh.glow > 0) & (mesh.glow > self.lit)
        colours = np.where(pane[:, None], 0.62 * colours + 0.3 * self.horizon * (0.5 + mesh.glow[:, None]), colours)
        lamp = (mesh.glow > 0) & (mesh.glow <= self.lit)
        colours = np.where(lamp[:, None], np.array([1.05, 0.84, 0.5]) * (0.55 + 0.5 * mesh.colours), colours)
        air = 1 - np.exp(-self.haze * distance / 100)
        return colours + (self.horizon - colours) * air[:, None]


_MOODS = {
    "day": ((1.0, 0.95, 0.84), (0.48, 0.51, 0.57), (0.3, 0.5, 0.8), (0.72, 0.82, 0.92)),
    "overcast": ((0.16, 0.16, 0.16), (0.66, 0.68, 0.7), (0.66, 0.69, 0.73), (0.83, 0.84, 0.85)),
    "dusk": ((0.85, 0.52, 0.3), (0.42, 0.4, 0.48), (0.27, 0.3, 0.5), (0.95, 0.68, 0.48)),
    "night": ((0.05, 0.06, 0.1), (0.26, 0.27, 0.36), (0.04, 0.05, 0.12), (0.15, 0.15, 0.21)),
}
"""Sun, shade, zenith, horizon."""


def draw_light(rng: np.random.Generator, mood: str | None = None) -> Light:
    """A light at random, of the given mood or of any."""
    name = mood or str(rng.choice(["day", "overcast", "dusk", "night"], p=[0.56, 0.22, 0.12, 0.1]))
    direct, ambient, zenith, horizon = (np.array(colour) for colour in _MOODS[name])
    height = rng.uniform(0.08, 0.25) if name == "dusk" else rng.uniform(0.3, 1.1)
    azimuth = rng.uniform(-1.9, 1.9)
    sun = np.array([math.sin(azimuth) * math.cos(height), -math.cos(azimuth) * math.cos(height), math.sin(height)])
    floodlit = name == "night" and rng.random() < 0.6
    if floodlit:
        direct = np.array([0.75, 0.6, 0.38]) * rng.uniform(0.6, 1.1)
        sun = np.array([rng.uniform(-0.5, 0.5), -0.8, -0.35])
        sun /= np.linalg.norm(sun)
    haze = rng.uniform(0.02, 0.15) if rng.random() < 0.8 else rng.uniform(0.4, 1.4)
    lit = {"night": rng.uniform(0.15, 0.7), "dusk": rng.uniform(0.02, 0.35)}.get(name, 0.0)
    tint = 1 + 0.06 * rng.standard_normal(3)
    return Light(
        name=name,
        sun=sun,
        direct=direct * rng.uniform(0.75, 1.1),
        ambient=ambient * rng.uniform(0.85, 1.15),
        zenith=np.clip(zenith * tint * rng.uniform(0.8, 1.15), 0, 1),
        horizon=np.clip(horizon * tint, 0, 1),
        haze=float(haze),
        lit=float(lit),
        clouds=float(rng.uniform(0, 1)),
    )
