"""This module enables JAX's compilation cache: a program then reuses the functions that an earlier run compiled."""

import os
import pathlib

import jax

MIN_COMPILATION_S = 0.2
"""The shortest compilation, in seconds, that the cache keeps."""


def enable() -> None:
    """Makes JAX keep compiled functions in ``~/.cache/cwcf/compiled``, or in the same folder below ``XDG_CACHE_HOME``.

    Programs call this function; a library leaves the choice to the program that imports it. The function does nothing
    if ``JAX_COMPILATION_CACHE_DIR`` or JAX's configuration already names a folder.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    cache_home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    options = {
        "compilation_cache_dir": str(cache_home / "cwcf" / "compiled"),
        "persistent_cache_min_compile_time_secs": MIN_COMPILATION_S,
    }
    for name, value in options.items():
        jax.config.update(f"jax_{name}", value)  # type: ignore[no-untyped-call]
