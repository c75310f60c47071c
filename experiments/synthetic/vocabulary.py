"""This module lists the props: the people, vehicles, plants and street furniture of a scene."""

from collections.abc import Callable

import numpy as np

from experiments.synthetic import boats, galleries, monuments, people, roadside, street, trees, vehicles
from experiments.synthetic.mesh import Plane
from experiments.synthetic.palette import Palette

Part = Callable[[Plane, np.random.Generator, Palette], None]
"""A function that draws a part or a prop on a plane, with sizes at random and colours of a palette."""

PROPS: dict[str, tuple[int, Part]] = {
    "awning stall": (3, street.awning_stall),
    "basin fountain": (5, monuments.basin_fountain),
    "broadleaf tree": (9, trees.broadleaf_tree),
    "cargo barge": (13, boats.cargo_barge),
    "chain bollards": (14, roadside.chain_bollards),
    "city bus": (16, vehicles.city_bus),
    "conifer": (18, trees.conifer),
    "cross flag": (19, street.cross_flag),
    "cyclist": (22, people.cyclist),
    "delivery van": (23, vehicles.delivery_van),
    "double decker bus": (24, vehicles.double_decker_bus),
    "ferry boat": (25, boats.ferry_boat),
    "globe lamp": (28, street.globe_lamp),
    "hatchback car": (32, vehicles.hatchback_car),
    "iron railing": (35, galleries.iron_railing),
    "jet fountain": (36, monuments.jet_fountain),
    "lantern lamp": (37, street.lantern_lamp),
    "lorry": (39, vehicles.lorry),
    "market umbrella": (41, street.market_umbrella),
    "mast lamp": (42, street.mast_lamp),
    "obelisk": (43, monuments.obelisk),
    "palm tree": (45, trees.palm_tree),
    "pennant": (47, street.pennant),
    "people group": (48, people.people_group),
    "phone booth": (49, street.phone_booth),
    "picket fence": (50, roadside.picket_fence),
    "pickup truck": (51, vehicles.pickup_truck),
    "poplar": (54, trees.poplar),
    "round kiosk": (61, street.round_kiosk),
    "round sign": (62, roadside.round_sign),
    "rowing boat": (65, boats.rowing_boat),
    "sailing boat": (67, boats.sailing_boat),
    "sedan car": (70, vehicles.sedan_car),
    "signpost": (73, roadside.signpost),
    "standing person": (76, people.standing_person),
    "statue": (78, monuments.statue),
    "stone balustrade": (81, galleries.stone_balustrade),
    "street sign": (83, roadside.street_sign),
    "striped flag": (84, street.striped_flag),
    "tiered fountain": (87, monuments.tiered_fountain),
    "tram": (90, vehicles.tram),
    "twin lamp": (94, street.twin_lamp),
    "umbrella person": (96, people.umbrella_person),
    "warning sign": (98, roadside.warning_sign),
    "wire fence": (99, roadside.wire_fence),
}
"""The seed and the drawing function of each prop by name; another seed changes the pictures."""
