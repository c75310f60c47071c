"""Online aggregation (OnA) over a class-vector store: a query's classes read, summed, normalised and scored at once.

The paper gives OnA up at 100,000 images. Here a query reads its own N_C classes and nothing else, fragment by fragment,
and no more than a fragment is worked on at a time; on an accelerator the store stays in its memory where it fits.
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

SHARE = 0.8
"""Of an accelerator's memory that a resident store may take."""

UNROLL = 8
"""Classes that one step adds up: the sum is read and written once for all of them."""


@jax.jit
def online_scores(
    values: Num[Array, "c b d"],
    scales: Float[Array, "c b"] | None,
    positions: Int[Array, " n"],
    query: Float[Array, " d"],
) -> Float[Array, " b"]:
    """Cosine of a query with each image's descriptor under the query's classes (OnA, section 3.2 of the paper).

    The class vectors are read where they are, one run of the first axis a class; nothing of the rest is touched.

    Args:
        values: whitened class vectors of norm 1, of c classes of b images; int8 or floating.
        scales: what to multiply each vector of ``values`` by; None: 1.
        positions: the query's classes on the first axis of ``values``, distinct.
        query: descriptor of norm 1.

    Returns:
        In [-1, 1], float32; 0 for an image without evidence for any of the classes.
    """
    sums = _sums(values, scales, positions)
    return jnp.sum(sums * query[None, :], axis=-1) * inverse_norm(sums)


@jax.jit
def online_descriptors(
    values: Num[Array, "c b d"], scales: Float[Array, "c b"] | None, positions: Int[Array, " n"]
) -> Float[Array, "b d"]:
    """Describe each image under some classes: what `online_scores` multiplies with a query, which see.

    Returns:
        Of norm 1, float32; zero for an image without evidence for any of the classes.
    """
    return l2_normalize(_sums(values, scales, positions))


class OnlineSearch:
    """Scores every image of a store under each query's own classes."""

    def __init__(self, store: ClassVectorStore, *, rows: range | None = None, resident: bool | None = None) -> None:
        """What it reads of the store.

        Args:
            store: whitened class vectors.
            rows: of the images that are searched, from the first of a fragment to the last of one; None: all.
            resident: whether all of it is copied to the device first; None: on an accelerator whose memory it fits.
        """
        self.store = store
        self._fragments = range(len(store.fragments()))
        if rows is not None:
            self._fragments = self._fragments[
                rows.start // store.layout.fragment : -(-rows.stop // store.layout.fragment)
            ]
        keep = _fits(store, len(self._fragments)) if resident is None else resident
        everything = store.read(_everything(store), self._fragments)
        self._resident = [(images, jax.device_put(runs)) for images, runs in everything] if keep else None

    def scores(self, query: Float[Array, " d"], class_ids: Int[np.ndarray, " n"]) -> Float[np.ndarray, " images"]:
        """Cosine of the query with each image's descriptor under the query's classes, of all ``rows`` in their order.

        Args:
            query: descriptor of norm 1, made from the same classes with the store's whitening.
            class_ids: the query's classes, distinct. With fewer classes in the store, see `available`.

        Raises:
            ValueError: the store lacks a class, or holds vectors of another length.
        """
        dim = self.store.layout.dim
        if query.shape != (dim,):
            raise ValueError(f"the store holds vectors of {dim} numbers, the query has shape {query.shape}")
        pending = [
            (images.stop - images.start, online_scores(*runs, query))
            for images, runs in self._read(self.store.positions(class_ids))
        ]
        return np.concatenate([np.zeros(0, np.float32), *(np.asarray(scores)[:count] for count, scores in pending)])

    def search(self, query: Float[Array, " d"], class_ids: Int[np.ndarray, " n"], count: int) -> Ranking:
        """The ``count`` best images of all; arguments and errors as in `scores`."""
        return best(self.scores(query, class_ids), count)

    def rescore(
        self, query: Float[Array, " d"], class_ids: Int[np.ndarray, " n"], rows: Int[np.ndarray, " r"]
    ) -> Float[np.ndarray, " r"]:
        """`scores` of a few images, such as the best of a search by OfA: only theirs are read."""
        runs = self.store.vectors(rows, self.store.positions(class_ids))
        return np.asarray(online_scores(*runs, query))

    def vectors(
        self, class_ids: Int[np.ndarray, " n"], rows: Int[Array, " r"] | Int[np.ndarray, " r"]
    ) -> Float[np.ndarray, "r d"]:
        """Descriptors of a few images under the query's classes; only theirs are read.

        With ``class_ids`` filled in this is the `pipeline.Online` of a query: OfA's best images, ranked anew by OnA.
        """
        runs = self.store.vectors(np.asarray(rows), self.store.positions(class_ids))
        return np.asarray(online_descriptors(*runs))

    def available(self, class_ids: Int[np.ndarray, " n"], count: int) -> Int[np.ndarray, " m"]:
        """The first ``count`` of a query's classes, most probable first, that the store holds."""
        return class_ids[np.isin(class_ids, self.store.layout.classes)][:count]

    def _read(self, positions: np.ndarray) -> Iterator[tuple[slice, ClassBlock]]:
        if self._resident is None:
            yield from self.store.read(positions, self._fragments)
            return
        for images, runs in self._resident:
            yield images, runs._replace(positions=positions)


def best(scores: Float[np.ndarray, " n"], count: int) -> Ranking:
    """The ``count`` highest scores in order; of equal ones the earlier row first."""
    if count < 1:
        raise ValueError(f"a search finds at least 1 image, not {count}")
    rows = np.arange(len(scores))
    if count < len(scores):
        least = np.partition(scores, len(scores) - count)[len(scores) - count]
        rows = np.flatnonzero(scores >= least)
    rows = rows[np.argsort(-scores[rows], kind="stable")][:count]
    return Ranking(scores[rows], rows)


def _everything(store: ClassVectorStore) -> np.ndarray:
    return np.arange(len(store.layout.classes), dtype=np.int32)


def _fits(store: ClassVectorStore, fragments: int) -> bool:
    if jax.default_backend() == "cpu":
        return False
    limit = (jax.devices()[0].memory_stats() or {}).get("bytes_limit", 0)
    return store.layout.image_bytes * store.layout.fragment * fragments < SHARE * limit


def _sums(
    values: Num[Array, "c b d"], scales: Float[Array, "c b"] | None, positions: Int[Array, " n"]
) -> Float[Array, "b d"]:
    def add(sums: Float[Array, "b d"], position: Int[Array, ""]) -> tuple[Float[Array, "b d"], None]:
        at = functools.partial(jax.lax.dynamic_index_in_dim, index=position, keepdims=False)
        return sums + dequantize(at(values), None if scales is None else at(scales)), None

    start = jnp.zeros(values.shape[1:], jnp.float32)
    return jax.lax.scan(add, start, positions, unroll=UNROLL)[0]
