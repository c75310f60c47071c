"""This module has assertions that hold for every ranking of the best rows by their neighbours, and rows to rank."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

ROWS = 30
SEEDS = st.integers(0, 2**32 - 1)


def clusters(seed, rows, dim=8, centres=4):
    """Draws a query and rows of norm 1 around a few centres: some neighbours are mutual and some are not."""
    random = np.random.default_rng(seed)
    middles = random.normal(size=(centres, dim))
    vectors = middles[random.integers(centres, size=rows + 1)] + 0.6 * random.normal(size=(rows + 1, dim))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return vectors[0], vectors[1:]


def scored(method, query, rows, config):
    """Computes the scores of rows of any type by a method."""
    return np.asarray(method(jnp.asarray(query, jnp.float32), jnp.asarray(rows, jnp.float32), config))


def assert_permuted(scores, seed, atol=0.0, share=0.0):
    """Asserts that permuted rows have permuted scores, up to ``atol`` and a ``share`` of the largest score."""
    query, rows = clusters(seed, ROWS)
    order = np.random.default_rng(seed).permutation(ROWS)
    actual = scores(query, rows)
    np.testing.assert_allclose(scores(query, rows[order]), actual[order], atol=atol + share * actual.max())


def assert_ties(test, scores, seed):
    """Asserts that equal rows have bitwise equal scores."""
    query, rows = clusters(seed, ROWS)
    copies = np.random.default_rng(seed).integers(12, size=ROWS)
    actual = scores(query, rows[copies])
    for copy in set(copies):
        test.assertLen(set(actual[copies == copy].tolist()), 1)


def assert_vmapped(method, config, tolerance):
    """Asserts that several queries at once give the scores of each query alone."""
    pairs = [clusters(seed, ROWS) for seed in range(3)]
    batched = jax.jit(jax.vmap(functools.partial(method, config=config)))
    actual = batched(*(jnp.asarray(np.stack(part)) for part in zip(*pairs, strict=True)))
    for scores, pair in zip(actual, pairs, strict=True):
        np.testing.assert_allclose(scores, scored(method, *pair, config), atol=tolerance)
