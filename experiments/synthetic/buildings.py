"""Landmarks: buildings composed of blocks and parts, from a kind and two seeds. Metres, fronts towards -y."""

import dataclasses
from collections.abc import Callable

import numpy as np

from experiments.synthetic import blocks, bridges, crowns, galleries, gates, ornament, towers, windows
from experiments.synthetic.blocks import Style
from experiments.synthetic.mesh import Mesh, Sketch
from experiments.synthetic.palette import draw_palette
from experiments.synthetic.vocabulary import Part

_CAPS: tuple[Part, ...] = (crowns.onion_dome, crowns.round_dome, crowns.ribbed_dome)


def church(s: Sketch, rng: np.random.Generator, style: Style) -> None:
    """A nave with a gable, a rose or a great window, and one or two towers."""
    wide, long, tall = rng.uniform(6, 8), rng.uniform(22, 32), rng.uniform(10, 15)
    box, rise = (-wide, 0.0, wide, long), wide * rng.uniform(0.9, 1.5)
    for plane, width in blocks.walls(s, box):
        flank = width == long
        blocks.facade(plane, width, tall, style, rng, floors=1 if flank else -1)
    front = s.plane((-wide, 0, 0), (1, 0, 0), (0, 0, 1), group=s.groups - 1)
    style.install(
        windows.gothic_portal if style.window is windows.gothic_window else style.door, front.at(wide, 0, 6), rng, 1
    )
    gable = blocks.gabled(s, box, tall, rise, style.palette, along_y=True)
    great = windows.rose_window if rng.random() < 0.6 else style.window
    style.install(
        great, front.at(wide, 6.6, min(tall - 7, 5.5) if great is not windows.rose_window else wide * 0.8, 0.05), rng, 8
    )
    style.install(style.window, gable.at(0, rise * 0.15, rise * 0.35), rng, 9)
    cap, half, clock = int(rng.integers(0, 5)), rng.uniform(2.6, 3.6), bool(rng.random() < 0.4)
    height, plan = tall * rng.uniform(1.4, 2.1), int(rng.integers(3))
    if plan == 0:
        for side in (-1, 1):
            towers.tower(s, rng, style, side * (wide + half), half, half, height, cap, clock)
    elif plan == 1:
        towers.tower(s, rng, style, rng.choice([-1, 1]) * (wide + half), half * 1.2, half, height * 1.15, cap, clock)
    else:
        aisle = rng.uniform(3, 4.5)
        for side in (-1, 1):
            x0, x1 = sorted((side * wide, side * (wide + aisle)))
            blocks.block(s, (x0, 1.5, x1, long), tall * 0.5, style, rng, floors=1)
        crowns.spire_tower(
            s.front(0, long * 0.55, tall + rise * 0.5, 22), np.random.default_rng(style.seed), style.palette
        )


def domed_hall(s: Sketch, rng: np.random.Generator, style: Style) -> None:
    """A block under a dome, behind a portico, maybe with lower wings."""
    wide, long, tall = rng.uniform(9, 13), rng.uniform(18, 24), rng.uniform(9, 13)
    wing = rng.uniform(8, 14) if rng.random() < 0.55 else 0.0
    blocks.block(s, (-wide, 0, wide, long), tall, style, rng)
    for side in (-1, 1):
        if wing:
            x0, x1 = sorted((side * wide, side * (wide + wing)))
            blocks.block(s, (x0, 2.5, x1, long - 3), tall * 0.72, style, rng)
            blocks.hipped(s, (x0, 2.5, x1, long - 3), tall * 0.72, 2.5, 0.6, style.palette)
    dome = _CAPS[rng.integers(3)] if rng.random() < 0.8 else crowns.shallow_dome
    size = wide * (2.2 if dome is not crowns.shallow_dome else 1.15) * rng.uniform(0.75, 1.05)
    dome(s.front(0, long / 2, tall - 0.5, size), np.random.default_rng(style.seed), style.palette)
    count, half = int(rng.choice([4, 6, 8])), wide * rng.uniform(0.55, 0.8)
    part = (ornament.plain_column, ornament.fluted_column)[rng.integers(2)]
    blocks.colonnade(s, -half, half, -3.2, tall * 0.7, count, style, part)
    top = (ornament.triangular_pediment, ornament.curved_pediment)[int(rng.random() < 0.25)]
    top(s.front(0, -4.1, tall * 0.7 + 1.9, half), np.random.default_rng(style.seed), style.palette)
    if rng.random() < 0.35:
        for side in (-1, 1):
            _CAPS[0](s.front(side * wide * 0.75, 3.5, tall, 7), np.random.default_rng(style.seed + 1), style.palette)


def gate(s: Sketch, rng: np.random.Generator, style: Style) -> None:
    """A triumphal or a fortified gate, with towers or wings."""
    kind, size = int(rng.integers(3)), rng.uniform(14, 20)
    fresh = np.random.default_rng(style.seed)
    part = gates.triumphal_arch if kind == 0 else gates.portcullis_gate if kind == 1 else gates.triumphal_arch
    part(s.front(0, 0, 0, size), fresh, style.palette)
    cap, half = int(rng.integers(5)), rng.uniform(2.4, 3.6)
    reach = size * 0.62 + half
    if kind == 2 or rng.random() < 0.4:
        for side in (-1, 1):
            towers.tower(s, rng, style, side * reach, half * 0.6, half, size * rng.uniform(0.9, 1.2), cap, False)
    else:
        wing = rng.uniform(8, 14)
        for side in (-1, 1):
            x0, x1 = sorted((side * size * 0.6, side * (size * 0.6 + wing)))
            blocks.block(s, (x0, 0.5, x1, 6), size * 0.5, style, rng)
            if kind == 1:
                blocks.battlements(s, (x0, 0.5, x1, 6), size * 0.5, style.palette)
            else:
                blocks.hipped(s, (x0, 0.5, x1, 6), size * 0.5, 3, 0.7, style.palette)


def bridge(s: Sketch, rng: np.random.Generator, style: Style) -> None:
    """A bridge with towers or small houses at its ends."""
    kind, size = int(rng.integers(4)), rng.uniform(13, 18)
    part = (bridges.stone_arch_bridge, bridges.stone_arch_bridge, bridges.suspension_bridge, bridges.truss_bridge)[kind]
    fresh = np.random.default_rng(style.seed)
    part(s.front(0, 0, 0, size), fresh, style.palette)
    cap, half, height = int(rng.integers(5)), rng.uniform(2.2, 3.2), size * rng.uniform(1.1, 1.7)
    for side in (-1, 1) if rng.random() < 0.6 else (rng.choice([-1, 1]),):
        towers.tower(s, rng, style, side * size * 1.55, size * 0.2, half, height, cap, rng.random() < 0.3)


def town_houses(s: Sketch, rng: np.random.Generator, style: Style) -> None:
    """Two to four narrow houses with gables, one manner, several colours."""
    count, x = int(rng.integers(2, 5)), 0.0
    widths = rng.uniform(6, 9, count)
    x = -widths.sum() / 2
    for k in range(count):
        palette = draw_palette(np.random.default_rng([style.seed, k % 3]))
        own = dataclasses.replace(style, palette=palette, seed=style.seed + k)
        width, tall = float(widths[k]), float(rng.uniform(9, 15))
        front = blocks.block(s, (x, 0, x + width, 11), tall, own, rng, door=True)
        crown = int(rng.integers(4))
        if crown == 0:
            ornament.scroll_gable(
                front.at(width / 2, tall, width / 1.65, 0.05), np.random.default_rng(own.seed), palette
            )
            blocks.gabled(s, (x + 0.5, 0.4, x + width - 0.5, 11), tall, width * 0.4, palette, along_y=True)
        elif crown == 1:
            q = front.at(width / 2, tall - width * 0.27, width / 0.92, 0.05)
            crowns.stepped_gable(q, np.random.default_rng(own.seed), palette)
            blocks.gabled(s, (x + 0.5, 0.4, x + width - 0.5, 11), tall, width * 0.5, palette, along_y=True)
        elif crown == 2:
            gable = blocks.gabled(s, (x, 0, x + width, 11), tall, width * rng.uniform(0.5, 0.8), palette, along_y=True)
            own.install(own.window, gable.at(0, 0.8, width * 0.25), rng, 4)
        else:
            blocks.gabled(s, (x, 0, x + width, 11), tall, rng.uniform(3, 5), palette, along_y=False)
            galleries.chimney(s.front(x + width * 0.7, 5.5, tall + 2, 3), np.random.default_rng(own.seed), palette)
        x += width


def castle(s: Sketch, rng: np.random.Generator, style: Style) -> None:
    """A curtain wall between round towers, a keep behind and a gate."""
    half, tall = rng.uniform(13, 18), rng.uniform(7, 10)
    own = dataclasses.replace(style, courses=False, pilasters=False, share=0.3, bay=5.5)
    front = blocks.block(s, (-half, 0, half, 22), tall, own, rng, floors=1)
    blocks.battlements(s, (-half, 0, half, 22), tall, style.palette)
    gates.portcullis_gate(
        front.at(half + rng.uniform(-0.3, 0.3) * half, 0, tall * 1.15, 0.3),
        np.random.default_rng(style.seed),
        style.palette,
    )
    keep, top = rng.uniform(4, 6), tall * rng.uniform(1.7, 2.3)
    x = rng.uniform(-0.5, 0.5) * half
    box = (x - keep, 10 - keep, x + keep, 10 + keep)
    blocks.block(s, box, top, own, rng)
    if rng.random() < 0.5:
        blocks.battlements(s, box, top, style.palette)
    else:
        blocks.hipped(s, box, top, keep * rng.uniform(0.8, 1.6), 0.3, style.palette)
    size = tall * rng.uniform(1.6, 2.3)
    for side in (-1, 1):
        crowns.round_tower(s.front(side * half, 0.5, 0, size), np.random.default_rng(style.seed), style.palette)
    if rng.random() < 0.5:
        crowns.battlement_tower(s.front(-x, 14, 0, top * 1.3), np.random.default_rng(style.seed + 1), style.palette)


def glass_tower(s: Sketch, rng: np.random.Generator, style: Style) -> None:
    """One to three slabs of glass of different heights on a podium."""
    count, x = int(rng.integers(1, 4)), 0.0
    podium = rng.uniform(4, 8)
    blocks.block(s, (-3, -2, count * 13 + 2, 16), podium, style, rng, door=True)
    for _k in range(count):
        width, depth, tall = rng.uniform(9, 13), rng.uniform(9, 13), rng.uniform(24, 48)
        columns, salt = max(1, round(width / 8)), int(rng.integers(1, 3))
        for plane, span in blocks.walls(s, (x, 0, x + width, depth), podium):
            plane.wall(0, 0, span, tall, style.palette.metal)
            stories = max(1, round(tall / 10))
            for j in range(stories):
                for i in range(columns):
                    cell = plane.at(span * (i + 0.5) / columns, tall * j / stories, tall / stories)
                    cell.frame[1] *= span / columns / (tall / stories)
                    style.install(galleries.curtain_wall, cell, rng, salt)
            plane.box(0, tall - 0.8, span, tall, style.palette.trim, 0.3)
            plane.box(0, 0, 0.6, tall, style.palette.trim, 0.3)
            plane.box(span - 0.6, 0, span, tall, style.palette.trim, 0.3)
        crown, top = int(rng.integers(4)), podium + tall
        if crown == 0:
            blocks.hipped(s, (x, 0, x + width, depth), top, rng.uniform(5, 12), 0.0, style.palette)
        elif crown == 1:
            s.front(x + width / 2, depth / 2, top).line((0, 0), (0, rng.uniform(8, 16)), 0.5, style.palette.metal)
        elif crown == 2:
            crowns.round_dome(
                s.front(x + width / 2, depth / 2, top, width * 0.9), np.random.default_rng(style.seed), style.palette
            )
        x += width + rng.uniform(0.5, 2)


def palace(s: Sketch, rng: np.random.Generator, style: Style) -> None:
    """A long front with a raised middle, pavilions at its ends and maybe a clock tower."""
    half, tall, deep = rng.uniform(16, 24), rng.uniform(9, 14), 12.0
    pavilion, middle = rng.uniform(4, 6), rng.uniform(5, 8)
    blocks.block(s, (-half, 1, half, deep), tall, style, rng)
    blocks.hipped(s, (-half, 1, half, deep), tall, rng.uniform(3, 5), 0.85, style.palette)
    front = blocks.block(s, (-middle, -1, middle, 1), tall * 1.12, style, rng, door=True)
    top = int(rng.integers(4))
    parts: tuple[Part, ...] = (
        ornament.triangular_pediment,
        ornament.curved_pediment,
        ornament.broken_pediment,
        ornament.scroll_gable,
    )
    parts[top](
        front.at(middle, tall * 1.12, middle * (1.0 if top < 3 else 0.9), 0.05),
        np.random.default_rng(style.seed),
        style.palette,
    )
    roof = int(rng.integers(3))
    for side in (-1, 1):
        x0, x1 = sorted((side * half, side * (half + 2 * pavilion)))
        blocks.block(s, (x0, -0.5, x1, deep), tall * 1.1, style, rng)
        if roof == 0:
            blocks.hipped(s, (x0, -0.5, x1, deep), tall * 1.1, pavilion * 1.5, 0.1, style.palette)
        elif roof == 1:
            _CAPS[1](
                s.front(side * (half + pavilion), 5, tall * 1.1, pavilion * 2),
                np.random.default_rng(style.seed),
                style.palette,
            )
        else:
            blocks.gabled(s, (x0, -0.5, x1, deep), tall * 1.1, pavilion * 1.1, style.palette, along_y=True)
    if rng.random() < 0.55:
        towers.tower(
            s, rng, style, 0, 5.5, rng.uniform(2.6, 3.6), tall * rng.uniform(2, 2.6), int(rng.integers(5)), True
        )


def campanile(s: Sketch, rng: np.random.Generator, style: Style) -> None:
    """A tall tower beside a low hall with an arcade."""
    half, height = rng.uniform(3.2, 4.6), rng.uniform(30, 44)
    towers.tower(s, rng, style, 0, 0, half, height, int(rng.integers(5)), rng.random() < 0.6)
    side, long, tall = rng.choice([-1, 1]), rng.uniform(14, 22), rng.uniform(8, 12)
    x0, x1 = sorted((side * half, side * (half + long)))
    front = blocks.block(s, (x0, -1, x1, 9), tall, style, rng)
    count = max(1, round(long / 9))
    for k in range(count):
        galleries.arcade(
            front.at(long * (k + 0.5) / count, 0, long / count / 2, 0.1),
            np.random.default_rng(style.seed),
            style.palette,
        )
    blocks.gabled(s, (x0, -1, x1, 9), tall, rng.uniform(2.5, 5), style.palette, along_y=False)


def onion_church(s: Sketch, rng: np.random.Generator, style: Style) -> None:
    """A cube under five domes on drums."""
    half, tall = rng.uniform(7, 9), rng.uniform(11, 15)
    blocks.block(s, (-half, 0, half, 2 * half), tall, style, rng, door=True)
    parts: tuple[Part, ...] = (crowns.onion_dome, crowns.ribbed_dome, crowns.onion_dome)
    part, size = parts[rng.integers(3)], rng.uniform(9, 13)
    for x, y, k in ((-1, 1.5, 1), (1, 1.5, 1), (0, 1, 0), (-1, 0.45, 1), (1, 0.45, 1)):
        seed = style.seed + k
        part(
            s.front(x * half * 0.62, y * half, tall - 0.3, size * (1.0 if k else 1.5)),
            np.random.default_rng(seed),
            style.palette,
        )
    if rng.random() < 0.5:
        blocks.block(s, (-half * 0.5, -5, half * 0.5, 0), tall * 0.5, style, rng, door=True, floors=1)
        blocks.gabled(s, (-half * 0.5, -5, half * 0.5, 0), tall * 0.5, 3, style.palette, along_y=True)


def temple(s: Sketch, rng: np.random.Generator, style: Style) -> None:
    """A hall behind a row of columns under a wide pediment."""
    half, tall = rng.uniform(10, 15), rng.uniform(8, 11)
    blocks.block(s, (-half + 1.5, 1, half - 1.5, 26), tall + 1.6, style, rng, door=True, floors=1)
    part = (ornament.plain_column, ornament.fluted_column, ornament.twisted_column)[rng.integers(3)]
    blocks.colonnade(s, -half, half, -2.2, tall, int(rng.integers(6, 10)), style, part)
    ornament.triangular_pediment(
        s.front(0, -3.1, tall + 1.9, half * 0.98), np.random.default_rng(style.seed), style.palette
    )
    blocks.gabled(s, (-half, -1.5, half, 26), tall + 2.0, half * 0.5, style.palette, along_y=True)


KINDS: tuple[Callable[[Sketch, np.random.Generator, Style], None], ...] = (
    *(church, domed_hall, gate, bridge, town_houses, castle, glass_tower, palace, campanile, onion_church, temple),
)


def build(kind: int, shape: list[int], colours: list[int]) -> Mesh:
    """A building of ``KINDS[kind]``: its parts and sizes from the seed ``shape``, its materials from ``colours``."""
    rng = np.random.default_rng(shape)
    style = blocks.draw_style(rng, draw_palette(np.random.default_rng(colours)))
    sketch = Sketch()
    KINDS[kind](sketch, rng, style)
    return sketch.finish()
