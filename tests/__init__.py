"""This package configures JAX strictly for all tests, with pytest and with python -m unittest.

The settings precede the import of the library: 8 host devices for sharding, a check of shapes and types at each call,
no implicit promotion of ranks or dtypes. A compilation cache is shared by all processes of a run (pytest's workers, the
programs that tests start) and by later runs with the same versions of JAX and jaxlib.
"""

import importlib.metadata
import os
import pathlib
import sys

from tests.support.slow import XLA_FLAGS

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {XLA_FLAGS} --xla_force_host_platform_device_count=8"
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # with more threads, parallel test processes slow each other down
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _cache_home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    _versions = "-".join(importlib.metadata.version(package) for package in ("jax", "jaxlib"))
    _cache_folder = _cache_home / "cwcf" / f"tests-{_versions}"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(_cache_folder / "xla")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):  # bytecode saves two thirds of the time to start a driver
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(_cache_folder / "python")
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
