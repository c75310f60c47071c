"""This module explains the score of a hit: by pairs of classes, and by the cells of the picture's feature map."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cwcf_jax import encoder, networks
from cwcf_jax.index import queries
from cwcf_jax.index.queries import PreparedQuery, QueryDescription
from cwcf_jax.index.query_config import QueryConfig
from cwcf_jax.index.search import Hit, Searcher, region_query
from cwcf_jax.search import class_pairs


class ClassPair(NamedTuple):
    """A `ClassPair` is a class of the query, a class of the picture, and the share that the two add to the score."""

    query: str
    picture: str
    share: float


@dataclasses.dataclass(frozen=True)
class Explanation:
    """An `Explanation` divides the score of a hit into shares.

    Attributes:
        score: the explained score, before query expansion and before k-reciprocal re-ranking. For a hit with a region,
            the score of the region; otherwise the score of the picture.
        pairs: the class pairs with the largest shares, largest first.
        rest: sum of the shares of all other pairs.
        cells: shape [h, w]; the share of each cell of the picture's feature map.
        constant: the part of the score that belongs to no cell; ``cells`` and ``constant`` sum to the score.
    """

    score: float
    pairs: tuple[ClassPair, ...]
    rest: float
    cells: np.ndarray
    constant: float


def explain(
    searcher: Searcher, query: QueryDescription, hit: Hit, query_config: QueryConfig, *, count: int = 12
) -> Explanation:
    """Explains the score of a hit of `Searcher.search`.

    An expanded query has no classes: its hits are explained by the query before expansion. A score of k-reciprocal
    re-ranking is no sum over classes: the cosine before this step is explained. With `QueryConfig.online`, every hit is
    explained under the query's classes, also the hits behind the best ones.

    Args:
        searcher: the searcher that found the hit.
        query: the query of the search.
        hit: the hit.
        query_config: the query config of the search.
        count: number of class pairs in the explanation.

    Raises:
        KeyError: the picture is no longer in the index.
    """
    model, whitening = searcher.index.model, searcher.whitening
    entry = searcher.ranker().entry(hit.entry.path)
    maps = queries.as_batch(searcher.maps(entry))
    image_maps = jax.tree.map(lambda array: array[0], maps)
    descriptor, query_classes, query_vectors, cells = query.descriptor, query.class_ids, query.vectors, None
    if hit.cells is not None:
        region_config, descriptor = region_query(query)
        query_classes = query_classes[: region_config.num_classes]
        query_vectors = query_vectors[: region_config.num_classes]
        cells = jnp.asarray(hit.cells, jnp.int32)
        picture_classes = query_classes
        vectors = encoder.region_vectors(model, image_maps, jnp.asarray(picture_classes, jnp.int32), cells, whitening)
    else:
        prepared = PreparedQuery(maps, entry.height, entry.width)
        under_query_classes = query_config.by_query or query_config.online
        class_ids = _stored_classes(searcher, prepared, query_classes) if under_query_classes else None
        if class_ids == []:
            height, width = np.asarray(image_maps.feature_size).tolist()
            return Explanation(0.0, (), 0.0, np.zeros((height, width), np.float32), 0.0)
        num_classes = searcher.index.config.num_classes
        picture = queries.describe(model, whitening, prepared, num_classes=num_classes, class_ids=class_ids)
        picture_classes, vectors = picture.class_ids, picture.vectors
    class_ids_array = jnp.asarray(picture_classes, jnp.int32)
    evidence = encoder.explain(model, image_maps, class_ids_array, whitening, descriptor, cells)
    shares = np.asarray(class_pairs(query_vectors, vectors))
    best = np.argsort(-shares, axis=None, kind="stable")[:count]
    names = networks.class_names(model.network.spec)
    pairs = tuple(
        ClassPair(names[query_classes[row]], names[picture_classes[column]], float(shares[row, column]))
        for row, column in zip(*np.unravel_index(best, shares.shape), strict=True)
    )
    height, width = np.asarray(image_maps.feature_size).tolist()
    total = float(shares.sum())
    return Explanation(
        score=total,
        pairs=pairs,
        rest=total - sum(pair.share for pair in pairs),
        cells=np.asarray(evidence.cells.sum(axis=0))[:height, :width],
        constant=float(evidence.constant.sum()),
    )


def _stored_classes(searcher: Searcher, picture: PreparedQuery, query_classes: np.ndarray) -> list[int]:
    """Returns the query's classes for which the index stores a class vector of the picture; OnA sums these."""
    model, own_classes = searcher.index.model, searcher.index.config.own_classes
    if not 0 < own_classes < model.network.spec.num_labels:
        return list(query_classes.tolist())
    stored = queries.describe(model, searcher.whitening, picture, num_classes=own_classes).class_ids
    return [class_id for class_id in query_classes.tolist() if class_id in stored]
