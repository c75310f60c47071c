"""JAX's compilation cache for this package's programs: a program reuses what an earlier run compiled."""

import os
import pathlib

import jax

LEAST_SECONDS = 0.2
"""The shortest compilation, in seconds, whose result is kept."""


def enable() -> None:
    """Makes JAX keep compiled functions in ``~/.cache/cwcf/compiled``, or below ``XDG_CACHE_HOME`` where it is set.

    Programs call this; a library leaves the choice to the program that imports it. If ``JAX_COMPILATION_CACHE_DIR`` or
    JAX's configuration names a folder already, that choice stays and this does nothing.
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
