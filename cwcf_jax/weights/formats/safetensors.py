"""This module reads ``.safetensors`` files with the package safetensors, which checks all offsets."""

import pathlib

from cwcf_jax.weights.formats.base import Refusal, WeightsFile, identify


def read(path: pathlib.Path) -> WeightsFile:
    """Reads the tensors of a ``.safetensors`` file, and its metadata as notes."""
    from safetensors import SafetensorError, safe_open  # imported late: only this format needs it

    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - the file is no dict
            return WeightsFile("safetensors", arrays, dict(file.metadata() or {}))
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Refusal(f"not a safetensors file, or damaged ({error}); it looks like {identify(path)}") from error
