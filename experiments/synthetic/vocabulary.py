"""The hundred kinds of parts and things that scenes are made of."""

from collections.abc import Callable

import numpy as np

from experiments.synthetic import (
    boats,
    bridges,
    crowns,
    galleries,
    gates,
    monuments,
    ornament,
    people,
    roadside,
    street,
    trees,
    vehicles,
    windows,
)
from experiments.synthetic.mesh import Plane
from experiments.synthetic.palette import Palette

Part = Callable[[Plane, np.random.Generator, Palette], None]

ON_WALLS: tuple[Part, ...] = (
    *(windows.sash_window, windows.round_window, windows.gothic_window, windows.rose_window),
    *(windows.panelled_door, windows.arched_door, windows.gothic_portal, windows.shutter_door),
    *(ornament.triangular_pediment, ornament.curved_pediment, ornament.broken_pediment),
    *(ornament.round_clock, ornament.square_clock, ornament.sundial, ornament.station_clock),
    *(galleries.balcony, street.hanging_banner),
)
"""Drawn on a wall behind them."""

ON_WATER: tuple[Part, ...] = (
    *(bridges.stone_arch_bridge, bridges.suspension_bridge, bridges.truss_bridge, bridges.cable_stayed_bridge),
    *(boats.sailing_boat, boats.rowing_boat, boats.ferry_boat, boats.cargo_barge),
)

ALOFT: tuple[Part, ...] = (
    *(crowns.onion_dome, crowns.round_dome, crowns.ribbed_dome, crowns.shallow_dome),
    *(crowns.gable_roof, crowns.hipped_roof, crowns.mansard_roof, crowns.stepped_gable),
    *(ornament.scroll_gable, galleries.chimney),
)
"""Seen from below, the sky or a roof behind them."""

ON_GROUND: tuple[Part, ...] = (
    *(crowns.battlement_tower, crowns.spire_tower, crowns.round_tower, crowns.clock_tower),
    *(gates.iron_gate, gates.triumphal_arch, gates.torii_gate, gates.portcullis_gate),
    *(ornament.plain_column, ornament.fluted_column, ornament.twisted_column, ornament.pier_cluster),
    *(galleries.stone_balustrade, galleries.iron_railing, galleries.battlement_parapet, galleries.lattice_parapet),
    *(galleries.brick_wall, galleries.ashlar_wall, galleries.rubble_wall, galleries.timbered_wall),
    *(galleries.curtain_wall, galleries.arcade),
    *(monuments.obelisk, monuments.statue, monuments.bust, monuments.stone_cross),
    *(monuments.basin_fountain, monuments.tiered_fountain, monuments.wall_fountain, monuments.jet_fountain),
    *(people.standing_person, people.umbrella_person, people.cyclist, people.people_group),
    *(street.striped_flag, street.cross_flag, street.pennant),
    *(street.lantern_lamp, street.globe_lamp, street.twin_lamp, street.mast_lamp),
    *(roadside.warning_sign, roadside.round_sign, roadside.street_sign, roadside.signpost),
    *(roadside.picket_fence, roadside.wire_fence, roadside.rail_fence, roadside.chain_bollards),
    *(street.market_umbrella, street.awning_stall, street.round_kiosk, street.phone_booth),
    *(trees.broadleaf_tree, trees.conifer, trees.palm_tree, trees.poplar),
    *(vehicles.sedan_car, vehicles.hatchback_car, vehicles.pickup_truck, vehicles.delivery_van),
    *(vehicles.city_bus, vehicles.double_decker_bus, vehicles.tram, vehicles.lorry),
)

PARTS: dict[str, Part] = {
    part.__name__.replace("_", " "): part
    for part in sorted((*ON_WALLS, *ON_WATER, *ALOFT, *ON_GROUND), key=lambda part: part.__name__)
}

OBJECT_CLASSES: tuple[str, ...] = tuple(PARTS)
"""The names of the classes, in alphabetical order: labels are positions in this tuple."""
