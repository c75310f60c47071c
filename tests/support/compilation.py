"""This module makes compilations cheap, since they take most of the tests' time."""

import functools

import jax

jit_fast = functools.partial(
    jax.jit,
    compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True},
)
"""`jax.jit` with less optimization and half of its compile time, for functions that the tests compare with."""
