"""Who makes the network's passes."""

import contextlib
from typing import TYPE_CHECKING

from cwcf_jax.encoder import Model
from cwcf_jax.extraction import Filler

if TYPE_CHECKING:  # Ray need not be there
    from cwcf_jax.extraction.ray_filling import RayFiller

    AnyFiller = Filler | RayFiller
else:
    AnyFiller = object


def filler(stack: contextlib.ExitStack, model: Model, ray: str | None) -> AnyFiller:
    """This process, or the actors of a Ray cluster, which ``stack`` ends; ValueError if they cannot be had."""
    if ray is None:
        return Filler(model)
    try:
        from cwcf_jax.extraction.ray_filling import RayFiller
    except ModuleNotFoundError as error:
        raise ValueError(f"--ray: {error.name} is not installed; pip install -e '.[experiments,ray]'") from error
    actors = RayFiller(ray, model)
    stack.callback(actors.close)
    return actors
