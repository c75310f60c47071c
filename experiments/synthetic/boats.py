"""This module draws boats from the side; each is about one unit high and stands on the origin of its plane."""

import math

import numpy as np

from experiments.synthetic.mesh import Colour, Plane, Real, ellipse
from experiments.synthetic.palette import Palette, darken, mix

RUBBER = (0.07, 0.07, 0.08)


def _draw_hull(
    plane: Plane, half: Real, low: Real, deck: Real, sheer: Real, paint: Colour, second: Colour, facing: int
) -> None:
    """Draws a hull and the strip of water around it; ``facing`` is 1 for a bow on the right, otherwise -1."""
    stern = [(-half * 0.9, low), (half * 0.72, low)]
    hull = [*stern, (half, deck + sheer), (half * 0.4, deck + 0.02), (-half * 0.4, deck), (-half, deck + 0.04)]
    band = [
        (-half * 0.98, deck - 0.03),
        (half * 0.9, deck - 0.01),
        (half, deck + sheer),
        (half * 0.4, deck + 0.02),
        (-half * 0.4, deck),
        (-half, deck + 0.04),
    ]
    plane.polygon([(facing * x, y) for x, y in hull], paint, normal=(0, -0.1, 1), solid=True)
    plane.polygon([(facing * x, y) for x, y in band], second, 0.01, normal=(0, 0.2, 1))
    plane.polygon(ellipse(0, low, half * 1.05, 0.03), (0.22, 0.3, 0.34), 0.02)
    for k in range(4):
        v = low - 0.03 * (k + 1)
        plane.line(
            (-half * (0.8 - 0.15 * k), v), (half * (0.7 - 0.13 * k), v), 0.014, mix(paint, (0.3, 0.4, 0.45), 0.6), 0.02
        )


def sailing_boat(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a hull under a mainsail and a jib."""
    facing, half, lean = int(rng.choice([-1, 1])), rng.uniform(0.36, 0.5), rng.uniform(-0.05, 0.05)
    sail = (0.94, 0.93, 0.88) if rng.random() < 0.7 else palette.second
    plane.line((0, 0.16), (lean, 1.0), 0.018, (0.6, 0.5, 0.4))
    plane.polygon(
        [(facing * -0.03, 0.24), (facing * -0.85 * half, 0.26), (lean - facing * 0.02, 0.97)][::facing],
        sail,
        0.01,
        normal=(0, 0, 0),
        solid=True,
    )
    plane.polygon(
        [(facing * 0.03, 0.22), (facing * 0.9 * half, 0.24), (lean + facing * 0.01, 0.86)],
        darken(sail, 0.85),
        0.01,
        normal=(0, 0, 0),
        solid=True,
    )
    for k in range(1, 4):
        share = k / 4
        plane.line(
            (facing * -0.85 * half * (1 - share), 0.26 + 0.7 * share),
            (lean * share, 0.26 + 0.7 * share),
            0.006,
            darken(sail, 0.7),
            0.012,
        )
    _draw_hull(plane, half, 0.08, 0.18, 0.04, palette.accent, palette.trim, facing)


def rowing_boat(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a low open hull with oars, maybe with a rower."""
    facing, half = int(rng.choice([-1, 1])), rng.uniform(1.0, 1.3)
    if rng.random() < 0.6:
        plane.polygon(ellipse(-0.1, 0.68, 0.16, 0.26), palette.second, -0.05, solid=True)
        plane.disc(-0.1, 1.0, 0.1, (0.8, 0.6, 0.48), -0.05, solid=True)
    _draw_hull(
        plane, half, 0.2, 0.5, 0.14, mix(palette.accent, (0.5, 0.3, 0.15), 0.5), darken(palette.trim, 0.9), facing
    )
    for side in (-0.7, 0.6):
        plane.line((side * 0.3, 0.62), (side * 1.2, 0.12), 0.045, (0.7, 0.55, 0.35), 0.05)
        plane.polygon(ellipse(side * 1.24, 0.1, 0.12, 0.05), (0.75, 0.6, 0.4), 0.05, solid=True)


def ferry_boat(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a white ship with two or three rows of windows and a funnel."""
    facing, half, decks = int(rng.choice([-1, 1])), rng.uniform(1.1, 1.4), int(rng.integers(1, 3))
    top = 0.42
    for k in range(decks + 1):
        wide = half * (0.82 - 0.18 * k)
        plane.box(-wide, top, wide * 0.9, top + 0.18, (0.93, 0.93, 0.9), 0, -0.3, shadow=False)
        for j in range(9):
            u = -wide + 1.9 * wide * (j + 0.5) / 9
            plane.rect(u - 0.05, top + 0.05, u + 0.05, top + 0.13, palette.glass, 0.004, glow=0.02 + 0.1 * j)
        top += 0.18
    plane.box(-facing * 0.3 - 0.1, top, -facing * 0.3 + 0.1, top + 0.2, palette.accent, -0.05, -0.25, shadow=False)
    plane.rect(-facing * 0.3 - 0.1, top + 0.14, -facing * 0.3 + 0.1, top + 0.2, (0.1, 0.1, 0.1), -0.045)
    _draw_hull(
        plane,
        half,
        0.14,
        0.42,
        0.08,
        palette.second if palette.second[0] < 0.6 else (0.12, 0.2, 0.4),
        palette.accent,
        facing,
    )


def cargo_barge(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a long low hull with containers or heaps and a small wheelhouse."""
    facing, half = int(rng.choice([-1, 1])), rng.uniform(1.7, 2.1)
    boxes = rng.random() < 0.6
    for k in range(5):
        u0, u1 = sorted((facing * half * (-0.4 + 0.24 * k), facing * half * (-0.4 + 0.24 * (k + 0.92))))
        if boxes:
            for j in range(int(rng.integers(1, 3))):
                shade = mix((palette.accent, palette.second, palette.roof)[int(rng.integers(3))], (0.5, 0.4, 0.3), 0.2)
                plane.box(u0, 0.42 + 0.2 * j, u1, 0.61 + 0.2 * j, shade, 0, -0.4, shadow=False)
        else:
            plane.polygon(
                ellipse((u0 + u1) / 2, 0.42, (u1 - u0) * 0.7, 0.24, 0, math.pi),
                darken(palette.wall, 0.7 + 0.1 * k),
                solid=True,
            )
    u = -facing * half * 0.72
    plane.box(u - 0.26, 0.42, u + 0.26, 0.95, (0.92, 0.92, 0.9), 0, -0.4, shadow=False)
    plane.rect(u - 0.22, 0.7, u + 0.22, 0.86, palette.glass, 0.004, glow=0.1)
    _draw_hull(plane, half, 0.2, 0.44, 0.06, (0.18, 0.18, 0.2), palette.accent, facing)
