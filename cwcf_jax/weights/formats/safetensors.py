"""The safetensors format, read by the package of that name, which checks every offset against the file's size."""

import pathlib

from cwcf_jax.weights.formats.base import Refusal, WeightsFile, looks_like


def read(path: pathlib.Path) -> WeightsFile:
    """Return the tensors of a ``.safetensors`` file, and its metadata as notes."""
    from safetensors import SafetensorError, safe_open  # late: only this format needs it

    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - the file is no dict
            return WeightsFile("safetensors", arrays, dict(file.metadata() or {}))
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Refusal(f"not a safetensors file, or damaged ({error}); it looks like {looks_like(path)}") from error
