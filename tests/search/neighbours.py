"""What holds for every ranking of the best rows by how they lie to one another, and rows to try it on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

ROWS = 30
SEEDS = st.integers(0, 2**32 - 1)


def clusters(seed, rows, dim=8, centres=4):
    """A query and rows around a few centres, of norm 1: neighbours are mutual for some and not for others."""
    random = np.random.default_rng(seed)
    middle = random.normal(size=(centres, dim))
    vectors = middle[random.integers(centres, size=rows + 1)] + 0.6 * random.normal(size=(rows + 1, dim))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return vectors[0], vectors[1:]


def scored(method, query, rows, config):
    """The scores of rows, in any type, by a method."""
    return np.asarray(method(jnp.asarray(query, jnp.float32), jnp.asarray(rows, jnp.float32), config))


def assert_permuted(scores, seed, atol=0.0, share=0.0):
    """Permuted rows have permuted scores, but for ``atol`` and a ``share`` of the largest one."""
    query, rows = clusters(seed, ROWS)
    order = np.random.default_rng(seed).permutation(ROWS)
    found = scores(query, rows)
    np.testing.assert_allclose(scores(query, rows[order]), found[order], atol=atol + share * found.max())


def assert_ties(test, scores, seed):
    """Equal rows tie to the last bit."""
    query, rows = clusters(seed, ROWS)
    copies = np.random.default_rng(seed).integers(12, size=ROWS)
    found = scores(query, rows[copies])
    for copy in set(copies):
        test.assertLen(set(found[copies == copy].tolist()), 1)


def assert_vmapped(method, config, tolerance):
    """Several queries at once are each alone."""
    pairs = [clusters(seed, ROWS) for seed in range(3)]
    several = jax.jit(jax.vmap(functools.partial(method, config=config)))
    found = several(*(jnp.asarray(np.stack(part)) for part in zip(*pairs, strict=True)))
    for one, pair in zip(found, pairs, strict=True):
        np.testing.assert_allclose(one, scored(method, *pair, config), atol=tolerance)
