"""Square towers in stages, and what ends them. Metres."""

import numpy as np

from experiments.synthetic import blocks, crowns, ornament, windows
from experiments.synthetic.blocks import Style
from experiments.synthetic.mesh import Real, Sketch


def cap(s: Sketch, rng: np.random.Generator, style: Style, x: Real, y: Real, z: Real, half: Real, kind: int) -> None:
    """What ends a square tower: a spire, a dome, merlons or a pyramid."""
    c, box = style.palette, (x - half, y - half, x + half, y + half)
    if kind == 0:
        crowns.spire(s.front(x, y, z), c, half * 1.05, 0, half * rng.uniform(3, 5.5))
    elif kind == 1:
        crowns.onion_dome(s.front(x, y, z, half * rng.uniform(3.2, 4)), np.random.default_rng(style.seed), c)
    elif kind == 2:
        crowns.ribbed_dome(s.front(x, y, z, half * 2.4), np.random.default_rng(style.seed), c)
    elif kind == 3:
        blocks.battlements(s, box, z, c, 0.9)
    else:
        blocks.hipped(s, box, z, half * rng.uniform(1.0, 1.8), 0.0, c)


def tower(
    s: Sketch,
    rng: np.random.Generator,
    style: Style,
    x: Real,
    y: Real,
    half: Real,
    height: Real,
    kind: int,
    clock: bool,
) -> None:
    """A square tower in stages, with windows in its top stage and maybe a clock."""
    box = (x - half, y - half, x + half, y + half)
    for plane, width in blocks.walls(s, box):
        blocks.facade(plane, width, height, style, rng, floors=-1)
        for k in range(1, 4):
            plane.box(0, height * k / 4 - 0.2, width, height * k / 4 + 0.2, style.palette.trim, 0.25)
        size = min(height * 0.19, half * 1.7)
        for u in (0.3, 0.7):
            style.install(style.window, plane.at(width * u, height * 0.765, size), rng, 5)
        if clock:
            ornament.round_clock(
                plane.at(width / 2, height * 0.54, half * 1.1, 0.1), np.random.default_rng(style.seed), style.palette
            )
        else:
            style.install(style.window, plane.at(width * 0.5, height * 0.54, size * 0.9), rng, 6)
        style.install(windows.sash_window, plane.at(width * 0.5, height * 0.32, 1.6), rng, 7)
    cap(s, rng, style, x, y, height, half, kind)
