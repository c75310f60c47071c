"""This module builds landmarks from blocks and parts, for a kind and two seeds. Sizes are in metres."""

import dataclasses
from collections.abc import Callable

import numpy as np

from experiments.synthetic import blocks, bridges, crowns, galleries, gates, ornament, towers, windows
from experiments.synthetic.blocks import Style
from experiments.synthetic.mesh import Mesh, Sketch
from experiments.synthetic.palette import draw_palette
from experiments.synthetic.vocabulary import Part

_CAPS: tuple[Part, ...] = (crowns.onion_dome, crowns.round_dome, crowns.ribbed_dome)


def church(sketch: Sketch, rng: np.random.Generator, style: Style) -> None:
    """Builds a nave with a gable, a rose or a great window, and one or two towers."""
    nave, length, tall = rng.uniform(6, 8), rng.uniform(22, 32), rng.uniform(10, 15)
    box, rise = (-nave, 0.0, nave, length), nave * rng.uniform(0.9, 1.5)
    for plane, width in blocks.walls(sketch, box):
        flank = width == length
        blocks.facade(plane, width, tall, style, rng, floors=1 if flank else -1)
    front = sketch.plane((-nave, 0, 0), (1, 0, 0), (0, 0, 1), group=sketch.groups - 1)
    style.install(
        windows.gothic_portal if style.window is windows.gothic_window else style.door, front.at(nave, 0, 6), rng, 1
    )
    gable = blocks.gabled(sketch, box, tall, rise, style.palette, along_y=True)
    great = windows.rose_window if rng.random() < 0.6 else style.window
    style.install(
        great, front.at(nave, 6.6, min(tall - 7, 5.5) if great is not windows.rose_window else nave * 0.8, 0.05), rng, 8
    )
    style.install(style.window, gable.at(0, rise * 0.15, rise * 0.35), rng, 9)
    cap, half, clock = int(rng.integers(0, 5)), rng.uniform(2.6, 3.6), bool(rng.random() < 0.4)
    height, plan = tall * rng.uniform(1.4, 2.1), int(rng.integers(3))
    if plan == 0:
        for side in (-1, 1):
            towers.tower(sketch, rng, style, side * (nave + half), half, half, height, cap, clock)
    elif plan == 1:
        towers.tower(
            sketch, rng, style, rng.choice([-1, 1]) * (nave + half), half * 1.2, half, height * 1.15, cap, clock
        )
    else:
        aisle = rng.uniform(3, 4.5)
        for side in (-1, 1):
            x0, x1 = sorted((side * nave, side * (nave + aisle)))
            blocks.block(sketch, (x0, 1.5, x1, length), tall * 0.5, style, rng, floors=1)
        crowns.spire_tower(
            sketch.front(0, length * 0.55, tall + rise * 0.5, 22), np.random.default_rng(style.seed), style.palette
        )


def domed_hall(sketch: Sketch, rng: np.random.Generator, style: Style) -> None:
    """Builds a block under a dome, behind a portico, maybe with lower wings."""
    hall, length, height = rng.uniform(9, 13), rng.uniform(18, 24), rng.uniform(9, 13)
    wing_width = rng.uniform(8, 14) if rng.random() < 0.55 else 0.0
    blocks.block(sketch, (-hall, 0, hall, length), height, style, rng)
    for side in (-1, 1):
        if wing_width:
            x0, x1 = sorted((side * hall, side * (hall + wing_width)))
            blocks.block(sketch, (x0, 2.5, x1, length - 3), height * 0.72, style, rng)
            blocks.hipped(sketch, (x0, 2.5, x1, length - 3), height * 0.72, 2.5, 0.6, style.palette)
    dome = _CAPS[rng.integers(3)] if rng.random() < 0.8 else crowns.shallow_dome
    size = hall * (2.2 if dome is not crowns.shallow_dome else 1.15) * rng.uniform(0.75, 1.05)
    dome(sketch.front(0, length / 2, height - 0.5, size), np.random.default_rng(style.seed), style.palette)
    count, portico = int(rng.choice([4, 6, 8])), hall * rng.uniform(0.55, 0.8)
    part = (ornament.plain_column, ornament.fluted_column)[rng.integers(2)]
    blocks.colonnade(sketch, -portico, portico, -3.2, height * 0.7, count, style, part)
    top = (ornament.triangular_pediment, ornament.curved_pediment)[int(rng.random() < 0.25)]
    top(sketch.front(0, -4.1, height * 0.7 + 1.9, portico), np.random.default_rng(style.seed), style.palette)
    if rng.random() < 0.35:
        for side in (-1, 1):
            _CAPS[0](
                sketch.front(side * hall * 0.75, 3.5, height, 7), np.random.default_rng(style.seed + 1), style.palette
            )


def gate(sketch: Sketch, rng: np.random.Generator, style: Style) -> None:
    """Builds a triumphal or a fortified gate with towers or wings."""
    kind, size = int(rng.integers(3)), rng.uniform(14, 20)
    part_rng = np.random.default_rng(style.seed)
    part = gates.triumphal_arch if kind == 0 else gates.portcullis_gate if kind == 1 else gates.triumphal_arch
    part(sketch.front(0, 0, 0, size), part_rng, style.palette)
    cap, half = int(rng.integers(5)), rng.uniform(2.4, 3.6)
    tower_x = size * 0.62 + half
    if kind == 2 or rng.random() < 0.4:
        for side in (-1, 1):
            towers.tower(sketch, rng, style, side * tower_x, half * 0.6, half, size * rng.uniform(0.9, 1.2), cap, False)
    else:
        wing_width = rng.uniform(8, 14)
        for side in (-1, 1):
            x0, x1 = sorted((side * size * 0.6, side * (size * 0.6 + wing_width)))
            blocks.block(sketch, (x0, 0.5, x1, 6), size * 0.5, style, rng)
            if kind == 1:
                blocks.battlements(sketch, (x0, 0.5, x1, 6), size * 0.5, style.palette)
            else:
                blocks.hipped(sketch, (x0, 0.5, x1, 6), size * 0.5, 3, 0.7, style.palette)


def bridge(sketch: Sketch, rng: np.random.Generator, style: Style) -> None:
    """Builds a bridge with towers at one end or both."""
    kind, size = int(rng.integers(4)), rng.uniform(13, 18)
    part = (bridges.stone_arch_bridge, bridges.stone_arch_bridge, bridges.suspension_bridge, bridges.truss_bridge)[kind]
    part_rng = np.random.default_rng(style.seed)
    part(sketch.front(0, 0, 0, size), part_rng, style.palette)
    cap, half, height = int(rng.integers(5)), rng.uniform(2.2, 3.2), size * rng.uniform(1.1, 1.7)
    for side in (-1, 1) if rng.random() < 0.6 else (rng.choice([-1, 1]),):
        towers.tower(sketch, rng, style, side * size * 1.55, size * 0.2, half, height, cap, rng.random() < 0.3)


def town_houses(sketch: Sketch, rng: np.random.Generator, style: Style) -> None:
    """Builds two to four narrow houses of one style, with gables and several colours."""
    count, x = int(rng.integers(2, 5)), 0.0
    widths = rng.uniform(6, 9, count)
    x = -widths.sum() / 2
    for k in range(count):
        palette = draw_palette(np.random.default_rng([style.seed, k % 3]))
        own = dataclasses.replace(style, palette=palette, seed=style.seed + k)
        width, tall = float(widths[k]), float(rng.uniform(9, 15))
        front = blocks.block(sketch, (x, 0, x + width, 11), tall, own, rng, door=True)
        gable_kind = int(rng.integers(4))
        if gable_kind == 0:
            ornament.scroll_gable(
                front.at(width / 2, tall, width / 1.65, 0.05), np.random.default_rng(own.seed), palette
            )
            blocks.gabled(sketch, (x + 0.5, 0.4, x + width - 0.5, 11), tall, width * 0.4, palette, along_y=True)
        elif gable_kind == 1:
            gable_plane = front.at(width / 2, tall - width * 0.27, width / 0.92, 0.05)
            crowns.stepped_gable(gable_plane, np.random.default_rng(own.seed), palette)
            blocks.gabled(sketch, (x + 0.5, 0.4, x + width - 0.5, 11), tall, width * 0.5, palette, along_y=True)
        elif gable_kind == 2:
            gable = blocks.gabled(
                sketch, (x, 0, x + width, 11), tall, width * rng.uniform(0.5, 0.8), palette, along_y=True
            )
            own.install(own.window, gable.at(0, 0.8, width * 0.25), rng, 4)
        else:
            blocks.gabled(sketch, (x, 0, x + width, 11), tall, rng.uniform(3, 5), palette, along_y=False)
            galleries.chimney(sketch.front(x + width * 0.7, 5.5, tall + 2, 3), np.random.default_rng(own.seed), palette)
        x += width


def castle(sketch: Sketch, rng: np.random.Generator, style: Style) -> None:
    """Builds a curtain wall between round towers, with a gate, and a keep behind."""
    half, height = rng.uniform(13, 18), rng.uniform(7, 10)
    plain_style = dataclasses.replace(style, courses=False, pilasters=False, share=0.3, bay=5.5)
    front = blocks.block(sketch, (-half, 0, half, 22), height, plain_style, rng, floors=1)
    blocks.battlements(sketch, (-half, 0, half, 22), height, style.palette)
    gates.portcullis_gate(
        front.at(half + rng.uniform(-0.3, 0.3) * half, 0, height * 1.15, 0.3),
        np.random.default_rng(style.seed),
        style.palette,
    )
    keep_half, keep_height = rng.uniform(4, 6), height * rng.uniform(1.7, 2.3)
    keep_x = rng.uniform(-0.5, 0.5) * half
    keep_box = (keep_x - keep_half, 10 - keep_half, keep_x + keep_half, 10 + keep_half)
    blocks.block(sketch, keep_box, keep_height, plain_style, rng)
    if rng.random() < 0.5:
        blocks.battlements(sketch, keep_box, keep_height, style.palette)
    else:
        blocks.hipped(sketch, keep_box, keep_height, keep_half * rng.uniform(0.8, 1.6), 0.3, style.palette)
    size = height * rng.uniform(1.6, 2.3)
    for side in (-1, 1):
        crowns.round_tower(sketch.front(side * half, 0.5, 0, size), np.random.default_rng(style.seed), style.palette)
    if rng.random() < 0.5:
        crowns.battlement_tower(
            sketch.front(-keep_x, 14, 0, keep_height * 1.3), np.random.default_rng(style.seed + 1), style.palette
        )


def glass_tower(sketch: Sketch, rng: np.random.Generator, style: Style) -> None:
    """Builds one to three slabs of glass of different heights on a podium."""
    count, x = int(rng.integers(1, 4)), 0.0
    podium_height = rng.uniform(4, 8)
    blocks.block(sketch, (-3, -2, count * 13 + 2, 16), podium_height, style, rng, door=True)
    for _k in range(count):
        width, depth, height = rng.uniform(9, 13), rng.uniform(9, 13), rng.uniform(24, 48)
        columns, salt = max(1, round(width / 8)), int(rng.integers(1, 3))
        for plane, wall_width in blocks.walls(sketch, (x, 0, x + width, depth), podium_height):
            plane.wall(0, 0, wall_width, height, style.palette.metal)
            stories = max(1, round(height / 10))
            for j in range(stories):
                for i in range(columns):
                    cell = plane.at(wall_width * (i + 0.5) / columns, height * j / stories, height / stories)
                    cell.frame[1] *= wall_width / columns / (height / stories)
                    style.install(galleries.curtain_wall, cell, rng, salt)
            plane.box(0, height - 0.8, wall_width, height, style.palette.trim, 0.3)
            plane.box(0, 0, 0.6, height, style.palette.trim, 0.3)
            plane.box(wall_width - 0.6, 0, wall_width, height, style.palette.trim, 0.3)
        top_kind, top = int(rng.integers(4)), podium_height + height
        if top_kind == 0:
            blocks.hipped(sketch, (x, 0, x + width, depth), top, rng.uniform(5, 12), 0.0, style.palette)
        elif top_kind == 1:
            sketch.front(x + width / 2, depth / 2, top).line((0, 0), (0, rng.uniform(8, 16)), 0.5, style.palette.metal)
        elif top_kind == 2:
            crowns.round_dome(
                sketch.front(x + width / 2, depth / 2, top, width * 0.9),
                np.random.default_rng(style.seed),
                style.palette,
            )
        x += width + rng.uniform(0.5, 2)


def palace(sketch: Sketch, rng: np.random.Generator, style: Style) -> None:
    """Builds a long front with a raised middle, pavilions at its ends and maybe a clock tower."""
    half, height, depth = rng.uniform(16, 24), rng.uniform(9, 14), 12.0
    pavilion_half, middle_half = rng.uniform(4, 6), rng.uniform(5, 8)
    blocks.block(sketch, (-half, 1, half, depth), height, style, rng)
    blocks.hipped(sketch, (-half, 1, half, depth), height, rng.uniform(3, 5), 0.85, style.palette)
    front = blocks.block(sketch, (-middle_half, -1, middle_half, 1), height * 1.12, style, rng, door=True)
    pediment_kind = int(rng.integers(4))
    pediments: tuple[Part, ...] = (
        ornament.triangular_pediment,
        ornament.curved_pediment,
        ornament.broken_pediment,
        ornament.scroll_gable,
    )
    pediments[pediment_kind](
        front.at(middle_half, height * 1.12, middle_half * (1.0 if pediment_kind < 3 else 0.9), 0.05),
        np.random.default_rng(style.seed),
        style.palette,
    )
    roof_kind = int(rng.integers(3))
    for side in (-1, 1):
        x0, x1 = sorted((side * half, side * (half + 2 * pavilion_half)))
        blocks.block(sketch, (x0, -0.5, x1, depth), height * 1.1, style, rng)
        if roof_kind == 0:
            blocks.hipped(sketch, (x0, -0.5, x1, depth), height * 1.1, pavilion_half * 1.5, 0.1, style.palette)
        elif roof_kind == 1:
            _CAPS[1](
                sketch.front(side * (half + pavilion_half), 5, height * 1.1, pavilion_half * 2),
                np.random.default_rng(style.seed),
                style.palette,
            )
        else:
            blocks.gabled(sketch, (x0, -0.5, x1, depth), height * 1.1, pavilion_half * 1.1, style.palette, along_y=True)
    if rng.random() < 0.55:
        towers.tower(
            sketch, rng, style, 0, 5.5, rng.uniform(2.6, 3.6), height * rng.uniform(2, 2.6), int(rng.integers(5)), True
        )


def campanile(sketch: Sketch, rng: np.random.Generator, style: Style) -> None:
    """Builds a tall tower beside a low hall with an arcade."""
    half, height = rng.uniform(3.2, 4.6), rng.uniform(30, 44)
    towers.tower(sketch, rng, style, 0, 0, half, height, int(rng.integers(5)), rng.random() < 0.6)
    side, length, hall_height = rng.choice([-1, 1]), rng.uniform(14, 22), rng.uniform(8, 12)
    x0, x1 = sorted((side * half, side * (half + length)))
    front = blocks.block(sketch, (x0, -1, x1, 9), hall_height, style, rng)
    count = max(1, round(length / 9))
    for k in range(count):
        galleries.arcade(
            front.at(length * (k + 0.5) / count, 0, length / count / 2, 0.1),
            np.random.default_rng(style.seed),
            style.palette,
        )
    blocks.gabled(sketch, (x0, -1, x1, 9), hall_height, rng.uniform(2.5, 5), style.palette, along_y=False)


def onion_church(sketch: Sketch, rng: np.random.Generator, style: Style) -> None:
    """Builds a cube under five domes on drums."""
    half, height = rng.uniform(7, 9), rng.uniform(11, 15)
    blocks.block(sketch, (-half, 0, half, 2 * half), height, style, rng, door=True)
    domes: tuple[Part, ...] = (crowns.onion_dome, crowns.ribbed_dome, crowns.onion_dome)
    dome, size = domes[rng.integers(3)], rng.uniform(9, 13)
    for x, y, is_corner in ((-1, 1.5, 1), (1, 1.5, 1), (0, 1, 0), (-1, 0.45, 1), (1, 0.45, 1)):
        seed = style.seed + is_corner
        dome(
            sketch.front(x * half * 0.62, y * half, height - 0.3, size * (1.0 if is_corner else 1.5)),
            np.random.default_rng(seed),
            style.palette,
        )
    if rng.random() < 0.5:
        blocks.block(sketch, (-half * 0.5, -5, half * 0.5, 0), height * 0.5, style, rng, door=True, floors=1)
        blocks.gabled(sketch, (-half * 0.5, -5, half * 0.5, 0), height * 0.5, 3, style.palette, along_y=True)


def temple(sketch: Sketch, rng: np.random.Generator, style: Style) -> None:
    """Builds a hall behind a row of columns under a wide pediment."""
    half, height = rng.uniform(10, 15), rng.uniform(8, 11)
    blocks.block(sketch, (-half + 1.5, 1, half - 1.5, 26), height + 1.6, style, rng, door=True, floors=1)
    column = (ornament.plain_column, ornament.fluted_column, ornament.twisted_column)[rng.integers(3)]
    blocks.colonnade(sketch, -half, half, -2.2, height, int(rng.integers(6, 10)), style, column)
    ornament.triangular_pediment(
        sketch.front(0, -3.1, height + 1.9, half * 0.98), np.random.default_rng(style.seed), style.palette
    )
    blocks.gabled(sketch, (-half, -1.5, half, 26), height + 2.0, half * 0.5, style.palette, along_y=True)


KINDS: tuple[Callable[[Sketch, np.random.Generator, Style], None], ...] = (
    *(church, domed_hall, gate, bridge, town_houses, castle, glass_tower, palace, campanile, onion_church, temple),
)


def build(kind: int, shape: list[int], colours: list[int]) -> Mesh:
    """Builds ``KINDS[kind]``, with parts and sizes from the seed ``shape`` and materials from the seed ``colours``."""
    rng = np.random.default_rng(shape)
    style = blocks.draw_style(rng, draw_palette(np.random.default_rng(colours)))
    sketch = Sketch()
    KINDS[kind](sketch, rng, style)
    return sketch.finish()
