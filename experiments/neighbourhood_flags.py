"""Flags that say which rankings by neighbourhood follow a search: numbers of images, and each method's parameters."""

import dataclasses

from absl import flags
from absl.flags import FlagValues

from cwcf_jax.search.diffusion import DiffusionConfig
from cwcf_jax.search.pipeline import Neighbourhood
from cwcf_jax.search.reciprocal import ReciprocalConfig
from cwcf_jax.search.refinement import RefinementConfig
from experiments.numbers import integers

flags.disclaim_key_flags()

METHODS: dict[str, type[ReciprocalConfig] | type[DiffusionConfig] | type[RefinementConfig]] = {
    method.name: method for method in (ReciprocalConfig, DiffusionConfig, RefinementConfig)
}
"""By the name of their flag; each of their fields but ``images`` is a flag, too, such as ``--reciprocal_k1``."""

_TEXTS = {
    "reciprocal": "k-reciprocal re-ranking: numbers of best images that are ranked anew; 0: none.",
    "reciprocal_k1": "Nearest images that describe an image where they are near both ways.",
    "reciprocal_k2": "Nearest images whose descriptions are averaged.",
    "reciprocal_original_weight": "Lambda, the share of the original distance, 0 to 1.",
    "diffusion": "Diffusion: numbers of best images that are ranked anew; 0: none.",
    "diffusion_neighbours": "Nearest images that an image may be joined to.",
    "diffusion_query_neighbours": "Images nearest to the query that diffusion starts from.",
    "diffusion_gamma": "Exponent of cosines.",
    "diffusion_alpha": "Share that flows on at each step, 0 to .999.",
    "refinement": "SuperGlobal's refinement: numbers of best images that are ranked anew; 0: none.",
    "refinement_neighbours": "Nearest images that refine an image.",
    "refinement_beta": "Weight of their cosines beside the image's own 1.",
}


def define_flags(values: FlagValues) -> None:
    """Defines the flags of all `METHODS`."""
    for name in METHODS:
        flags.DEFINE_list(name, ["0"], _TEXTS[name], flag_values=values)
        for flag, field in _parameters(name).items():
            define = flags.DEFINE_integer if isinstance(field.default, int) else flags.DEFINE_float
            text = f"{_TEXTS[flag]} Default: {field.default}."
            define(flag, None, text, flag_values=values)


def from_flags(values: FlagValues) -> tuple[Neighbourhood | None, ...]:
    """Every ranking that the parsed flags ask for, none (None) first if the lists of all methods have a 0.

    Raises:
        ValueError: a number is not one of images, a parameter is out of range, or its method is not asked for.
    """
    counts = {name: integers(name, getattr(values, name), 0, None) for name in METHODS}
    found: list[Neighbourhood | None] = [None] if all(0 in images for images in counts.values()) else []
    for name, method in METHODS.items():
        parameters = {field.name: getattr(values, flag) for flag, field in _parameters(name).items()}
        given = {field: value for field, value in parameters.items() if value is not None}
        if given and not any(counts[name]):
            raise ValueError(f"--{name}_{next(iter(given))} has no effect without --{name}")
        try:
            found += [method(images=images, **given) for images in counts[name] if images]
        except ValueError as error:
            raise ValueError(f"--{name}_{error}") from error
    return tuple(found)


def _parameters(name: str) -> dict[str, dataclasses.Field[int | float]]:
    """The fields of a method but ``images``, by their flags."""
    fields = dataclasses.fields(METHODS[name])
    return {f"{name}_{field.name}": field for field in fields if field.name != "images"}
