"""What was compiled once, for the programs that start later."""

import os
import pathlib

import jax

LEAST_SECONDS = 0.2
"""What compiles faster is not kept."""


def enable() -> None:
    """Has JAX keep compiled functions below the user's cache folder, ``~/.cache/cwcf/compiled``.

    For programs; a library leaves the choice to its caller. Whoever set JAX's cache (``JAX_COMPILATION_CACHE_DIR`` or
    its configuration) has made that choice.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    caches = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    options = {
        "compilation_cache_dir": str(caches / "cwcf" / "compiled"),
        "persistent_cache_min_compile_time_secs": LEAST_SECONDS,
    }
    for name, value in options.items():
        jax.config.update(f"jax_{name}", value)  # type: ignore[no-untyped-call]
