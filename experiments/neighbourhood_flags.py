"""This module defines the flags that choose the rankings by neighbourhood after a search, and their parameters."""

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
"""The configuration of each method, by the name of its flag.

Every field but ``images`` has a flag of its own, such as ``--reciprocal_k1``.
"""

_HELP = {
    "reciprocal": "k-reciprocal re-ranking: numbers of best images that are ranked anew; 0: none.",
    "reciprocal_k1": "k1: an image is described by those of its k1 nearest images that have it among theirs.",
    "reciprocal_k2": "k2: number of nearest images whose descriptions are averaged.",
    "reciprocal_original_weight": "lambda: share of the original distance, 0 to 1.",
    "diffusion": "Diffusion: numbers of best images that are ranked anew; 0: none.",
    "diffusion_neighbours": "Number of nearest images that an image may be connected to.",
    "diffusion_query_neighbours": "Number of images nearest to the query, which diffusion starts from.",
    "diffusion_gamma": "Exponent of the cosines between images.",
    "diffusion_alpha": "Share of the scores that spreads to neighbours at each step, 0 to .999.",
    "refinement": "SuperGlobal's refinement: numbers of best images that are ranked anew; 0: none.",
    "refinement_neighbours": "Number of nearest images that refine an image.",
    "refinement_beta": "Factor of the cosines that weight these images; the image itself has the weight 1.",
}


def define_flags(values: FlagValues) -> None:
    """Defines the flags of all `METHODS`."""
    for name in METHODS:
        flags.DEFINE_list(name, ["0"], _HELP[name], flag_values=values)
        for flag, field in _parameters(name).items():
            define = flags.DEFINE_integer if isinstance(field.default, int) else flags.DEFINE_float
            text = f"{_HELP[flag]} Default: {field.default}."
            define(flag, None, text, flag_values=values)


def from_flags(values: FlagValues) -> tuple[Neighbourhood | None, ...]:
    """Returns every ranking that the parsed flags name, first None (no ranking) if the lists of all methods have a 0.

    Raises:
        ValueError: a number of images or a parameter is out of range, or a parameter is set without its method.
    """
    counts = {name: integers(name, getattr(values, name), 0, None) for name in METHODS}
    neighbourhoods: list[Neighbourhood | None] = [None] if all(0 in images for images in counts.values()) else []
    for name, method in METHODS.items():
        parameters = {field.name: getattr(values, flag) for flag, field in _parameters(name).items()}
        set_parameters = {field: value for field, value in parameters.items() if value is not None}
        if set_parameters and not any(counts[name]):
            raise ValueError(f"--{name}_{next(iter(set_parameters))} has no effect without --{name}")
        try:
            neighbourhoods += [method(images=images, **set_parameters) for images in counts[name] if images]
        except ValueError as error:
            raise ValueError(f"--{name}_{error}") from error
    return tuple(neighbourhoods)


def _parameters(name: str) -> dict[str, dataclasses.Field[int | float]]:
    """Returns the fields of a method except ``images``, by their flags."""
    fields = dataclasses.fields(METHODS[name])
    return {f"{name}_{field.name}": field for field in fields if field.name != "images"}
