"""This module draws the light of a scene: sun, sky and haze."""

import dataclasses
import math

import numpy as np

from experiments.synthetic.mesh import Mesh, Real


@dataclasses.dataclass(frozen=True)
class Light:
    """A `Light` says how a scene is lit, and how hazy the air is.

    Attributes:
        name: ``day``, ``overcast``, ``dusk`` or ``night``.
        sun: shape [3]; unit vector towards the sun.
        direct: shape [3]; colour of the sun's light.
        ambient: shape [3]; colour of the light in the shade.
        zenith: shape [3]; colour of the sky overhead.
        horizon: shape [3]; colour of the sky at the horizon.
        haze: optical depth of 100 m of air; distant colours fade to the horizon's.
        lit: share of windows that are lit, 0 to 1.
        clouds: cloud cover, 0 to 1.
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
        """Returns the colours of p polygons, shape [p, 3], 0 to 1 and above where they glare.

        Args:
            mesh: the polygons.
            distance: shape [p]; metres from the camera.
        """
        lambert = mesh.normals @ self.sun
        foliage = ~mesh.normals.any(1)
        lambert = np.where(foliage, 0.55, np.maximum(lambert, 0))
        sky_share = 0.85 + 0.25 * mesh.normals[:, 2]
        colours = mesh.colours * (self.ambient * sky_share[:, None] + self.direct * lambert[:, None])
        unlit_pane = (mesh.glow > 0) & (mesh.glow > self.lit)
        colours = np.where(
            unlit_pane[:, None], 0.62 * colours + 0.3 * self.horizon * (0.5 + mesh.glow[:, None]), colours
        )
        lit_pane = (mesh.glow > 0) & (mesh.glow <= self.lit)
        colours = np.where(lit_pane[:, None], np.array([1.05, 0.84, 0.5]) * (0.55 + 0.5 * mesh.colours), colours)
        haze_share = 1 - np.exp(-self.haze * distance / 100)
        return colours + (self.horizon - colours) * haze_share[:, None]


_MOODS = {
    "day": ((1.0, 0.95, 0.84), (0.48, 0.51, 0.57), (0.3, 0.5, 0.8), (0.72, 0.82, 0.92)),
    "overcast": ((0.16, 0.16, 0.16), (0.66, 0.68, 0.7), (0.66, 0.69, 0.73), (0.83, 0.84, 0.85)),
    "dusk": ((0.85, 0.52, 0.3), (0.42, 0.4, 0.48), (0.27, 0.3, 0.5), (0.95, 0.68, 0.48)),
    "night": ((0.05, 0.06, 0.1), (0.26, 0.27, 0.36), (0.04, 0.05, 0.12), (0.15, 0.15, 0.21)),
}
"""Colours of the sun, the shade, the sky overhead and the sky at the horizon."""


def draw_light(rng: np.random.Generator, mood: str | None = None) -> Light:
    """Draws a light at random; without a ``mood``, the mood is random too."""
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
