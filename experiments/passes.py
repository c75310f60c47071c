"""This module chooses the object that runs the network passes: this process or the actors of a Ray cluster."""

import contextlib
from typing import TYPE_CHECKING

from cwcf_jax.encoder import Model
from cwcf_jax.extraction import Filler

if TYPE_CHECKING:  # Ray is optional
    from cwcf_jax.extraction.ray_filling import RayFiller

    AnyFiller = Filler | RayFiller
else:
    AnyFiller = object


def filler(stack: contextlib.ExitStack, model: Model, ray: str | None) -> AnyFiller:
    """Returns a filler in this process, or on a Ray cluster, which ``stack`` ends.

    Raises:
        ValueError: Ray is not installed.
    """
    if ray is None:
        return Filler(model)
    try:
        from cwcf_jax.extraction.ray_filling import RayFiller
    except ModuleNotFoundError as error:
        raise ValueError(f"--ray: {error.name} is not installed; run pip install -e '.[experiments,ray]'") from error
    ray_filler = RayFiller(ray, model)
    stack.callback(ray_filler.close)
    return ray_filler
