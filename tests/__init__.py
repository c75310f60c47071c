"""Strict settings for every test, however it is run: pytest, or python -m unittest.

They must stand before the library is imported: 8 host devices for sharding, shapes and types in signatures checked at
every call, no implicit rank or dtype promotion.
"""

import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"

import jax
from absl import flags
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
install_import_hook("cwcf_jax", "beartype.beartype")
if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()
