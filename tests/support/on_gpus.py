"""This module runs the GPU code of functions with `jax.lax.platform_dependent` on a CPU."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax


@contextlib.contextmanager
def gpu_branches() -> Iterator[list[Callable[..., Any]]]:
    """Selects the GPU branches inside the context; yields the list of branches traced so far. Clears all caches."""
    branches_traced: list[Callable[..., Any]] = []

    def choose(*arguments: Any, default: Callable[..., Any], **branches: Callable[..., Any]) -> Any:
        branches_traced.append(branches.get("cuda", default))
        return branches_traced[-1](*arguments)

    jax.clear_caches()
    try:
        with mock.patch.object(jax.lax, "platform_dependent", choose):
            yield branches_traced
    finally:
        jax.clear_caches()
