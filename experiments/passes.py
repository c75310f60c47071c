"""Who makes the network's passes."""

import contextlib
from typing import TYPE_CHECKING

from absl import flags

from cwcf_jax.encoder import Model
from cwcf_jax.extraction import Filler

if TYPE_CHECKING:  # Ray need not be there
    from cwcf_jax.extraction.ray_filling import RayFiller

    AnyFiller = Filler | RayFiller
else:
    AnyFiller = object

_RAY = flags.DEFINE_string(
    "ray", None, "A Ray cluster that makes the passes of pictures: auto, HOST:PORT or local; default: this process."
)


def filler(stack: contextlib.ExitStack, model: Model) -> AnyFiller:
    """This process, or the actors of --ray, which ``stack`` ends; ValueError if they cannot be had."""
    if _RAY.value is None:
        return Filler(model)
    try:
        from cwcf_jax.extraction.ray_filling import RayFiller
    except ModuleNotFoundError as error:
        raise ValueError(f"--ray: {error.name} is not installed; pip install -e '.[experiments,ray]'") from error
    found = RayFiller(_RAY.value, model)
    stack.callback(found.close)
    return found
