"""Compilations are most of what the tests cost."""

import functools

import jax

quickly = functools.partial(
    jax.jit,
    compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True},
)
"""`jax.jit` at half the price, for what the library's own pass is compared with."""
