"""A benchmark from its pooled rows: whitenings, and descriptors for every method.

Everything here starts from `PooledRows`; no network runs. Descriptors come for several N_C at once, as prefixes of
one cumulative sum over the classes.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cwcf_jax.arrays import l2_normalize
from cwcf_jax.descriptors import Whitening, WhiteningConfig, aggregate_prefixes, repeat_dropped, whiten_normalized
from cwcf_jax.store import PooledRows

CHUNK = 128
"""Images that are whitened in one call."""

QUERIES = 16
"""Queries whose adapted databases (OnA) are made together."""


@dataclasses.dataclass(frozen=True)
class DatasetRows:
    """The rows of one dataset: its images, and its queries' regions if it has any."""

    name: str
    images: PooledRows
    queries: PooledRows | None = None

    def stores(self) -> Iterator[PooledRows]:
        """Both, the images first."""
        yield self.images
        if self.queries is not None:
            yield self.queries


def top_classes(store: PooledRows, count: int) -> np.ndarray:
    """[n, count] int, the most probable classes of each row, the lower index first among equals."""
    return np.argsort(-store.logits, axis=1, kind="stable")[:, :count]


def raw_vectors(store: PooledRows, *, channel_weighting: bool) -> np.ndarray:
    """[n, k], sum-pooled features of each row, l2-normalised: the paper's baselines."""
    sums = store.sums * store.channel_weights if channel_weighting else np.asarray(store.sums)
    return np.asarray(l2_normalize(jnp.asarray(sums)))


def fit_on_raw(collections: Sequence[DatasetRows], config: WhiteningConfig, *, channel_weighting: bool) -> Whitening:
    """A whitening for the baselines, fitted on every image and query of the collections."""
    vectors = [
        raw_vectors(store, channel_weighting=channel_weighting)[store.done]
        for collection in collections
        for store in collection.stores()
    ]
    return config.fit(np.concatenate(vectors), _names(collections))


def fit_on_classes(
    collections: Sequence[DatasetRows], config: WhiteningConfig, count: int, class_ids: np.ndarray | None = None
) -> Whitening:
    """A whitening fitted on N_pca = ``count`` l2-normalised class vectors of every image and query, at its first scale.

    The classes are each row's most probable ones, or the first ``count`` of ``class_ids``.
    """
    vectors = []
    for collection in collections:
        for store in collection.stores():
            rows = np.flatnonzero(store.done)
            chosen = top_classes(store, count)[rows] if class_ids is None else class_ids[:count]
            found = store.class_vectors(rows, chosen)
            vectors.append(np.asarray(l2_normalize(jnp.asarray(found.reshape(-1, found.shape[-1])))))
    return config.fit(np.concatenate(vectors), f"{_names(collections)}, N_pca {count}")


def describe_raw(store: PooledRows, whitening: Whitening | None, *, channel_weighting: bool) -> Float[Array, "n d"]:
    """Descriptors of the paper's baselines, one a row."""
    return whiten_normalized(jnp.asarray(raw_vectors(store, channel_weighting=channel_weighting)), whitening)


def describe(
    store: PooledRows,
    whitening: Whitening | None,
    counts: tuple[int, ...],
    class_ids: np.ndarray | None = None,
    *,
    repeat: bool = False,
) -> Float[Array, "m n d"]:
    """Descriptors of every row for each N_C of ``counts``: OfA, or a list of classes fixed beforehand.

    Class vectors of several scales are whitened one by one and summed; a class is dropped where it is at all of them.

    Args:
        store: of n rows.
        whitening: applied to each class vector.
        counts: the m values of N_C.
        class_ids: [max(counts)] or more, the classes for all rows; None: each row's own most probable ones (OfA).
        repeat: whether a dropped class's vector is replaced by that of the class before it.
    """
    most = max(counts)
    own = top_classes(store, most) if class_ids is None else np.tile(class_ids[:most], (store.length, 1))
    parts = []
    for rows in _chunks(store):
        vectors = [_padded(scale.class_vectors(rows, own[rows])) for scale in store.scales]
        parts.append(_aggregate_all(vectors, whitening, counts, repeat)[:, : rows.stop - rows.start])
    return jnp.concatenate(parts, axis=1)


def describe_online(
    store: PooledRows,
    whitening: Whitening | None,
    counts: tuple[int, ...],
    class_ids: np.ndarray,
    *,
    repeat: bool = False,
) -> Iterator[Float[Array, "m n d"]]:
    """OnA: `describe` under each query's classes, ``class_ids`` [q, max(counts)], one query after another.

    Queries share classes, so the class vectors of `QUERIES` queries are read and whitened once.
    """
    for block in np.split(class_ids[:, : max(counts)], range(QUERIES, len(class_ids), QUERIES)):
        union, chosen = np.unique(block, return_inverse=True)
        chosen = chosen.reshape(block.shape)
        filled = np.pad(union, (0, -len(union) % CHUNK))  # class 0 fills up, so that few shapes get compiled
        parts = []
        for rows in _chunks(store):
            embedded = sum_scales([_padded(scale.class_vectors(rows, filled)) for scale in store.scales], whitening)
            parts.append(_aggregate_chosen(embedded, chosen, counts, repeat)[:, :, : rows.stop - rows.start])
        yield from jnp.concatenate(parts, axis=2)


def _chunks(store: PooledRows) -> Iterator[slice]:
    for start in range(0, store.length, CHUNK):
        yield slice(start, min(start + CHUNK, store.length))


def _padded(vectors: np.ndarray) -> np.ndarray:
    return np.pad(vectors, ((0, CHUNK - len(vectors)), (0, 0), (0, 0))) if len(vectors) < CHUNK else vectors


@jax.jit
def sum_scales(vectors: Sequence[Float[Array, "n c k"]], whitening: Whitening | None) -> Float[Array, "n c d"]:
    """Whitened class vectors of images, the sum of those of each scale."""
    return functools.reduce(jnp.add, [whiten_normalized(of_scale, whitening) for of_scale in vectors])


@functools.partial(jax.jit, static_argnames=("counts", "repeat"))
def _aggregate_all(
    vectors: Sequence[Float[Array, "n c k"]], whitening: Whitening | None, counts: tuple[int, ...], repeat: bool
) -> Float[Array, "m n d"]:
    def one_image(one: Float[Array, "c d"]) -> Float[Array, "m d"]:
        return aggregate_prefixes(repeat_dropped(one) if repeat else one, counts)

    return jnp.swapaxes(jax.vmap(one_image)(sum_scales(vectors, whitening)), 0, 1)


@functools.partial(jax.jit, static_argnames=("counts", "repeat"))
def _aggregate_chosen(
    embedded: Float[Array, "n c d"], chosen: Int[Array, "q most"], counts: tuple[int, ...], repeat: bool
) -> Float[Array, "q m n d"]:
    def one_query(positions: Int[Array, " most"]) -> Float[Array, "m n d"]:
        def one_image(one: Float[Array, "c d"]) -> Float[Array, "m d"]:
            rows = one[positions]  # a dropped class's row stays zero when it is whitened
            return aggregate_prefixes(repeat_dropped(rows) if repeat else rows, counts)

        return jnp.swapaxes(jax.vmap(one_image)(embedded), 0, 1)

    return jax.lax.map(one_query, chosen)


def count_dropped(store: PooledRows, count: int) -> int:
    """How many of the rows' ``count`` most probable classes are dropped for want of evidence."""
    classes, done = top_classes(store, count), store.done
    total = 0
    for rows in _chunks(store):
        vectors = store.class_vectors(rows, classes[rows])[done[rows]]
        total += int(np.sum(np.all(vectors == 0, axis=-1)))
    return total


def class_votes(collections: Sequence[DatasetRows], *, top: int = 64) -> tuple[np.ndarray, int]:
    """In how many rows each class is among the ``top`` most probable ones, and of how many rows.

    Counted over each collection's query regions (the paper's rule for Paris6k, section 4.3) or, where it has none, over
    its images.
    """
    votes, voters = np.zeros(collections[0].images.logits.shape[1], np.int64), 0
    for collection in collections:
        store = collection.queries or collection.images
        votes += np.bincount(top_classes(store, top)[store.done].ravel(), minlength=len(votes))
        voters += int(store.done.sum())
    return votes, voters


def most_voted(votes: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` classes with most votes, most first, equal ones by index."""
    return np.argsort(-votes, kind="stable")[:count]


def frequent_classes(collections: Sequence[DatasetRows], *, count: int, top: int = 64) -> np.ndarray:
    """The ``count`` classes that `class_votes` finds most often, most frequent first: the list of section 4.3."""
    return most_voted(class_votes(collections, top=top)[0], count)


def _names(collections: Sequence[DatasetRows]) -> str:
    return " + ".join(collection.name for collection in collections)
