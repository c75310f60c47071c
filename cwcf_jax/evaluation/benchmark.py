"""This module computes the whitenings and the descriptors of a benchmark, for every method, from its pooled rows.

All functions start from `PooledRows`; no network runs. Descriptors are computed for several N_C at once, as prefixes
of one cumulative sum over the classes.
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

CHUNK_IMAGES = 128
"""The number of images that are whitened in one call."""

BLOCK_QUERIES = 16
"""The number of queries whose OnA databases are computed together."""


@dataclasses.dataclass(frozen=True)
class DatasetRows:
    """A `DatasetRows` holds the pooled rows of one dataset.

    Attributes:
        name: name of the dataset.
        images: rows of the dataset's images.
        queries: rows of the regions of the dataset's queries; None: the dataset has no queries.
    """

    name: str
    images: PooledRows
    queries: PooledRows | None = None

    def stores(self) -> Iterator[PooledRows]:
        """Yields the rows of the images, then those of the queries if the dataset has queries."""
        yield self.images
        if self.queries is not None:
            yield self.queries


def top_classes(store: PooledRows, count: int) -> np.ndarray:
    """Returns the most probable classes of each row, [n, count] int, the lower index first among equals."""
    return np.argsort(-store.logits, axis=1, kind="stable")[:, :count]


def raw_vectors(store: PooledRows, *, channel_weighting: bool) -> np.ndarray:
    """Returns the l2-normalised sum-pooled features of each row, [n, k]: the paper's baselines."""
    sums = store.sums * store.channel_weights if channel_weighting else np.asarray(store.sums)
    return np.asarray(l2_normalize(jnp.asarray(sums)))


def fit_on_raw(collections: Sequence[DatasetRows], config: WhiteningConfig, *, channel_weighting: bool) -> Whitening:
    """Fits a whitening for the paper's baselines on every image and query of the collections."""
    vectors = [
        raw_vectors(store, channel_weighting=channel_weighting)[store.done]
        for collection in collections
        for store in collection.stores()
    ]
    return config.fit(np.concatenate(vectors), _names(collections))


def fit_on_classes(
    collections: Sequence[DatasetRows], config: WhiteningConfig, count: int, class_ids: np.ndarray | None = None
) -> Whitening:
    """Fits a whitening on N_pca = ``count`` l2-normalised class vectors of every image and query, at the first scale.

    The classes are the most probable classes of each row, or the first ``count`` of ``class_ids``.
    """
    vectors = []
    for collection in collections:
        for store in collection.stores():
            rows = np.flatnonzero(store.done)
            row_classes = top_classes(store, count)[rows] if class_ids is None else class_ids[:count]
            class_vectors = store.class_vectors(rows, row_classes)
            vectors.append(np.asarray(l2_normalize(jnp.asarray(class_vectors.reshape(-1, class_vectors.shape[-1])))))
    return config.fit(np.concatenate(vectors), f"{_names(collections)}, N_pca {count}")


def describe_raw(store: PooledRows, whitening: Whitening | None, *, channel_weighting: bool) -> Float[Array, "n d"]:
    """Computes the descriptor of each row by the paper's baselines."""
    return whiten_normalized(jnp.asarray(raw_vectors(store, channel_weighting=channel_weighting)), whitening)


def describe(
    store: PooledRows,
    whitening: Whitening | None,
    counts: tuple[int, ...],
    class_ids: np.ndarray | None = None,
    *,
    repeat: bool = False,
) -> Float[Array, "m n d"]:
    """Computes the descriptors of every row for each N_C of ``counts``: OfA, or a list of classes fixed beforehand.

    The class vectors of several scales are whitened one by one and summed. A class is dropped where it is dropped at
    all scales.

    Args:
        store: pooled rows of n images or queries.
        whitening: whitening of each class vector; None: class vectors are normalised only.
        counts: the m values of N_C.
        class_ids: shape [max(counts)] or longer; the classes for all rows; None: each row's most probable classes
            (OfA).
        repeat: whether the vector of a dropped class is replaced by the vector of the class before it.
    """
    most = max(counts)
    classes = top_classes(store, most) if class_ids is None else np.tile(class_ids[:most], (store.length, 1))
    parts = []
    for rows in _chunks(store):
        vectors = [_pad_chunk(scale.class_vectors(rows, classes[rows])) for scale in store.scales]
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
    """Yields the result of `describe` for each query, under its classes ``class_ids`` [q, max(counts)]: OnA.

    Queries share classes, so the class vectors of `BLOCK_QUERIES` queries are read and whitened once.
    """
    for block in np.split(class_ids[:, : max(counts)], range(BLOCK_QUERIES, len(class_ids), BLOCK_QUERIES)):
        union, columns = np.unique(block, return_inverse=True)
        columns = columns.reshape(block.shape)
        padded = np.pad(union, (0, -len(union) % CHUNK_IMAGES))  # class 0 is the padding: few shapes get compiled
        parts = []
        for rows in _chunks(store):
            embedded = sum_scales([_pad_chunk(scale.class_vectors(rows, padded)) for scale in store.scales], whitening)
            parts.append(_aggregate_columns(embedded, columns, counts, repeat)[:, :, : rows.stop - rows.start])
        yield from jnp.concatenate(parts, axis=2)


def _chunks(store: PooledRows) -> Iterator[slice]:
    for start in range(0, store.length, CHUNK_IMAGES):
        yield slice(start, min(start + CHUNK_IMAGES, store.length))


def _pad_chunk(vectors: np.ndarray) -> np.ndarray:
    if len(vectors) == CHUNK_IMAGES:
        return vectors
    return np.pad(vectors, ((0, CHUNK_IMAGES - len(vectors)), (0, 0), (0, 0)))


@jax.jit
def sum_scales(vectors: Sequence[Float[Array, "n c k"]], whitening: Whitening | None) -> Float[Array, "n c d"]:
    """Returns the whitened class vectors of n images, summed over the scales."""
    return functools.reduce(jnp.add, [whiten_normalized(scale_vectors, whitening) for scale_vectors in vectors])


@functools.partial(jax.jit, static_argnames=("counts", "repeat"))
def _aggregate_all(
    vectors: Sequence[Float[Array, "n c k"]], whitening: Whitening | None, counts: tuple[int, ...], repeat: bool
) -> Float[Array, "m n d"]:
    def aggregate_image(image_vectors: Float[Array, "c d"]) -> Float[Array, "m d"]:
        return aggregate_prefixes(repeat_dropped(image_vectors) if repeat else image_vectors, counts)

    return jnp.swapaxes(jax.vmap(aggregate_image)(sum_scales(vectors, whitening)), 0, 1)


@functools.partial(jax.jit, static_argnames=("counts", "repeat"))
def _aggregate_columns(
    embedded: Float[Array, "n c d"], columns: Int[Array, "q most"], counts: tuple[int, ...], repeat: bool
) -> Float[Array, "q m n d"]:
    def aggregate_for_query(query_columns: Int[Array, " most"]) -> Float[Array, "m n d"]:
        def aggregate_image(image_vectors: Float[Array, "c d"]) -> Float[Array, "m d"]:
            chosen = image_vectors[query_columns]  # whitening leaves the zero vector of a dropped class zero
            return aggregate_prefixes(repeat_dropped(chosen) if repeat else chosen, counts)

        return jnp.swapaxes(jax.vmap(aggregate_image)(embedded), 0, 1)

    return jax.lax.map(aggregate_for_query, columns)


def count_dropped(store: PooledRows, count: int) -> int:
    """Counts the classes dropped for lack of evidence among the ``count`` most probable classes of each row."""
    classes, done = top_classes(store, count), store.done
    total = 0
    for rows in _chunks(store):
        vectors = store.class_vectors(rows, classes[rows])[done[rows]]
        total += int(np.sum(np.all(vectors == 0, axis=-1)))
    return total


def class_votes(collections: Sequence[DatasetRows], *, top: int = 64) -> tuple[np.ndarray, int]:
    """Counts the rows in which each class is among the ``top`` most probable classes, and the rows counted over.

    The rows are the query regions of each collection (the paper's rule for Paris6k, section 4.3), or the images of a
    collection without queries.
    """
    votes, voters = np.zeros(collections[0].images.logits.shape[1], np.int64), 0
    for collection in collections:
        store = collection.queries or collection.images
        votes += np.bincount(top_classes(store, top)[store.done].ravel(), minlength=len(votes))
        voters += int(store.done.sum())
    return votes, voters


def most_voted(votes: np.ndarray, count: int) -> np.ndarray:
    """Returns the ``count`` classes with the most votes, most first; classes with equal votes are ordered by index."""
    return np.argsort(-votes, kind="stable")[:count]


def frequent_classes(collections: Sequence[DatasetRows], *, count: int, top: int = 64) -> np.ndarray:
    """Returns the ``count`` classes that `class_votes` counts most often, most frequent first: see section 4.3."""
    return most_voted(class_votes(collections, top=top)[0], count)


def _names(collections: Sequence[DatasetRows]) -> str:
    return " + ".join(collection.name for collection in collections)
