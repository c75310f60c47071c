"""Strict settings for every test, however it is run: pytest, or python -m unittest.

They must stand before the library is imported: 8 host devices for sharding, shapes and types in signatures checked at
every call, no implicit rank or dtype promotion. What one process of a run has compiled (pytest's workers, the programs
that tests start), the others read, and so do later runs with the same versions of JAX and jaxlib.
"""

import importlib.metadata
import os
import pathlib
import sys

from tests.support.slow import XLA_FLAGS

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {XLA_FLAGS} --xla_force_host_platform_device_count=8"
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # each of several busy processes waits for its own threads otherwise
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _caches = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    _versions = "-".join(importlib.metadata.version(package) for package in ("jax", "jaxlib"))
    _compiled = _caches / "cwcf" / f"tests-{_versions}"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_compiled / "xla")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):  # two thirds of what it costs to start a driver
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(_compiled / "python")
        sys.dont_write_bytecode = False

import jax
from absl import flags
from hypothesis import settings
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
install_import_hook("cwcf_jax", "beartype.beartype")
settings.register_profile("busy machines", deadline=None)
settings.load_profile("busy machines")
if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()
