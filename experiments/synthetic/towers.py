"""This module builds square towers in stages, and their tops; sizes are in metres."""

import numpy as np

from experiments.synthetic import blocks, crowns, ornament, windows
from experiments.synthetic.blocks import Style
from experiments.synthetic.mesh import Real, Sketch


def cap(
    sketch: Sketch, rng: np.random.Generator, style: Style, x: Real, y: Real, z: Real, half: Real, kind: int
) -> None:
    """Builds the top of a square tower: a spire, a dome, merlons or a pyramid."""
    c, box = style.palette, (x - half, y - half, x + half, y + half)
    if kind == 0:
        crowns.spire(sketch.front(x, y, z), c, half * 1.05, 0, half * rng.uniform(3, 5.5))
    elif kind == 1:
        crowns.onion_dome(sketch.front(x, y, z, half * rng.uniform(3.2, 4)), np.random.default_rng(style.seed), c)
    elif kind == 2:
        crowns.ribbed_dome(sketch.front(x, y, z, half * 2.4), np.random.default_rng(style.seed), c)
    elif kind == 3:
        blocks.battlements(sketch, box, z, c, 0.9)
    else:
        blocks.hipped(sketch, box, z, half * rng.uniform(1.0, 1.8), 0.0, c)


def tower(
    sketch: Sketch,
    rng: np.random.Generator,
    style: Style,
    x: Real,
    y: Real,
    half: Real,
    height: Real,
    kind: int,
    has_clock: bool,
) -> None:
    """Builds a square tower in stages, with windows and maybe a clock."""
    box = (x - half, y - half, x + half, y + half)
    for plane, width in blocks.walls(sketch, box):
        blocks.facade(plane, width, height, style, rng, floors=-1)
        for k in range(1, 4):
            plane.box(0, height * k / 4 - 0.2, width, height * k / 4 + 0.2, style.palette.trim, 0.25)
        window_height = min(height * 0.19, half * 1.7)
        for u in (0.3, 0.7):
            style.install(style.window, plane.at(width * u, height * 0.765, window_height), rng, 5)
        if has_clock:
            ornament.round_clock(
                plane.at(width / 2, height * 0.54, half * 1.1, 0.1), np.random.default_rng(style.seed), style.palette
            )
        else:
            style.install(style.window, plane.at(width * 0.5, height * 0.54, window_height * 0.9), rng, 6)
        style.install(windows.sash_window, plane.at(width * 0.5, height * 0.32, 1.6), rng, 7)
    cap(sketch, rng, style, x, y, height, half, kind)
