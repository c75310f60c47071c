"""This module searches by online aggregation (OnA) over a class-vector store.

The paper does not use OnA for 100,000 images. Here a query reads the class vectors of its own N_C classes and nothing
else, one shard at a time. They are summed, normalised and scored in one compiled function. A store that fits into the
memory of an accelerator is kept there.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from cwcf_jax.arrays import dequantize, inverse_norm, l2_normalize
from cwcf_jax.search.similarity import Ranking
from cwcf_jax.store import ClassBlock, ClassVectorStore

MEMORY_SHARE = 0.8
"""The largest share of an accelerator's memory that a resident store may use."""

UNROLL_CLASSES = 8
"""The number of classes that one step sums, so that the sum is read and written once for all of them."""


@jax.jit
def online_scores(
    values: Num[Array, "c b d"],
    scales: Float[Array, "c b"] | None,
    positions: Int[Array, " n"],
    query: Float[Array, " d"],
) -> Float[Array, " b"]:
    """Computes the cosine of a query with each image's descriptor under the query's classes (OnA, section 3.2).

    Only the class vectors of the query's classes are read, without a copy.

    Args:
        values: whitened class vectors of norm 1, of c classes of b images; int8 or floating.
        scales: factor of each vector of ``values``; None: 1.
        positions: distinct positions of the query's classes on the first axis of ``values``.
        query: descriptor of norm 1.

    Returns:
        Scores in [-1, 1], float32; 0 for an image without evidence for any of the classes.
    """
    sums = _sums(values, scales, positions)
    return jnp.sum(sums * query[None, :], axis=-1) * inverse_norm(sums)


@jax.jit
def online_descriptors(
    values: Num[Array, "c b d"], scales: Float[Array, "c b"] | None, positions: Int[Array, " n"]
) -> Float[Array, "b d"]:
    """Computes the descriptor of each image under some classes; arguments as in `online_scores`.

    Returns:
        Descriptors of norm 1, float32; zero for an image without evidence for any of the classes.
    """
    return l2_normalize(_sums(values, scales, positions))


class OnlineSearch:
    """An `OnlineSearch` scores every image of a store under each query's own classes.

    Attributes:
        store: store that is searched.
    """

    def __init__(self, store: ClassVectorStore, *, rows: range | None = None, resident: bool | None = None) -> None:
        """Prepares a search of a store.

        Args:
            store: store of whitened class vectors.
            rows: rows of the images that are searched, from the first image of a shard to the last image of a shard;
                None: all images.
            resident: whether the store is first copied to the device; None: copied to an accelerator if it fits.
        """
        self.store = store
        self._shards = range(len(store.shards()))
        if rows is not None:
            self._shards = self._shards[rows.start // store.layout.fragment : -(-rows.stop // store.layout.fragment)]
        copies = _fits(store, len(self._shards)) if resident is None else resident
        blocks = store.read(_all_positions(store), self._shards)
        self._resident = [(images, jax.device_put(block)) for images, block in blocks] if copies else None

    def scores(self, query: Float[Array, " d"], class_ids: Int[np.ndarray, " n"]) -> Float[np.ndarray, " images"]:
        """Computes the cosine of the query with each image's descriptor under the query's classes, in order of rows.

        Args:
            query: descriptor of norm 1, aggregated from the same classes with the store's whitening.
            class_ids: the query's classes, distinct. `available` returns the classes that the store holds.

        Raises:
            ValueError: the store lacks a class, or holds vectors of another length.
        """
        dim = self.store.layout.dim
        if query.shape != (dim,):
            raise ValueError(f"the store holds vectors of {dim} numbers, the query has shape {query.shape}")
        pending = [
            (images.stop - images.start, online_scores(*block, query))
            for images, block in self._read(self.store.positions(class_ids))
        ]
        return np.concatenate([np.zeros(0, np.float32), *(np.asarray(scores)[:count] for count, scores in pending)])

    def search(self, query: Float[Array, " d"], class_ids: Int[np.ndarray, " n"], count: int) -> Ranking:
        """Returns the ``count`` best images; arguments and errors as in `scores`."""
        return best(self.scores(query, class_ids), count)

    def rescore(
        self, query: Float[Array, " d"], class_ids: Int[np.ndarray, " n"], rows: Int[np.ndarray, " r"]
    ) -> Float[np.ndarray, " r"]:
        """Computes `scores` of a few images, such as the best of a search by OfA; reads their class vectors only."""
        block = self.store.vectors(rows, self.store.positions(class_ids))
        return np.asarray(online_scores(*block, query))

    def vectors(
        self, class_ids: Int[np.ndarray, " n"], rows: Int[Array, " r"] | Int[np.ndarray, " r"]
    ) -> Float[np.ndarray, "r d"]:
        """Computes descriptors of a few images under the query's classes; reads their class vectors only.

        With fixed ``class_ids`` this method is the `pipeline.Online` of a query, which ranks OfA's best images by OnA.
        """
        block = self.store.vectors(np.asarray(rows), self.store.positions(class_ids))
        return np.asarray(online_descriptors(*block))

    def available(self, class_ids: Int[np.ndarray, " n"], count: int) -> Int[np.ndarray, " m"]:
        """Returns the first ``count`` of a query's classes, most probable first, that the store holds."""
        return class_ids[np.isin(class_ids, self.store.layout.classes)][:count]

    def _read(self, positions: np.ndarray) -> Iterator[tuple[slice, ClassBlock]]:
        if self._resident is None:
            yield from self.store.read(positions, self._shards)
            return
        for images, block in self._resident:
            yield images, block._replace(positions=positions)


def best(scores: Float[np.ndarray, " n"], count: int) -> Ranking:
    """Returns the ``count`` highest scores in order; of equal scores, the earlier row comes first."""
    if count < 1:
        raise ValueError(f"a search returns at least 1 image, not {count}")
    rows = np.arange(len(scores))
    if count < len(scores):
        threshold = np.partition(scores, len(scores) - count)[len(scores) - count]
        rows = np.flatnonzero(scores >= threshold)
    rows = rows[np.argsort(-scores[rows], kind="stable")][:count]
    return Ranking(scores[rows], rows)


def _all_positions(store: ClassVectorStore) -> np.ndarray:
    return np.arange(len(store.layout.classes), dtype=np.int32)


def _fits(store: ClassVectorStore, shards: int) -> bool:
    if jax.default_backend() == "cpu":
        return False
    limit = (jax.devices()[0].memory_stats() or {}).get("bytes_limit", 0)
    return store.layout.image_bytes * store.layout.fragment * shards < MEMORY_SHARE * limit


def _sums(
    values: Num[Array, "c b d"], scales: Float[Array, "c b"] | None, positions: Int[Array, " n"]
) -> Float[Array, "b d"]:
    def add(sums: Float[Array, "b d"], position: Int[Array, ""]) -> tuple[Float[Array, "b d"], None]:
        select_class = functools.partial(jax.lax.dynamic_index_in_dim, index=position, keepdims=False)
        return sums + dequantize(select_class(values), None if scales is None else select_class(scales)), None

    start = jnp.zeros(values.shape[1:], jnp.float32)
    return jax.lax.scan(add, start, positions, unroll=UNROLL_CLASSES)[0]
