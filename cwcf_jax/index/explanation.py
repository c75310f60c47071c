"""Why a picture was found: its score over pairs of classes, and over the cells of its maps."""

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
    """A class of the query, a class of the picture, and what the two add to the score."""

    query: str
    picture: str
    share: float


@dataclasses.dataclass(frozen=True)
class Explanation:
    """A score taken apart.

    Attributes:
        score: what is explained: of the region where there is one, of the picture otherwise, before expansion and
            before a ranking by shared neighbours.
        pairs: the pairs that add most, largest first.
        rest: what all other pairs add.
        cells: [h, w], what each cell of the picture's feature map adds.
        constant: what does not depend on where one looks; with ``cells`` it sums to the score.
    """

    score: float
    pairs: tuple[ClassPair, ...]
    rest: float
    cells: np.ndarray
    constant: float


def explain(
    searcher: Searcher, query: QueryDescription, hit: Hit, options: QueryConfig, *, count: int = 12
) -> Explanation:
    """Takes apart the score of a hit of `Searcher.search` with the same query and options; KeyError if it is gone.

    An expanded query has no classes of its own: its hits are explained by the query before. Ranks by shared neighbours
    are no sum over classes: what is explained is the cosine before. With `QueryConfig.online` every hit is explained
    under the query's classes, those behind the best as well.
    """
    model, whitening = searcher.index.model, searcher.whitening
    entry = searcher.held().entry(hit.entry.path)
    maps = queries.one_image(searcher.maps(entry))
    one = jax.tree.map(lambda part: part[0], maps)
    descriptor, asked, asked_vectors, cells = query.descriptor, query.class_ids, query.vectors, None
    if hit.cells is not None:
        config, descriptor = region_query(query)
        asked, asked_vectors = asked[: config.num_classes], asked_vectors[: config.num_classes]
        cells = jnp.asarray(hit.cells, jnp.int32)
        shown = asked
        vectors = encoder.region_vectors(model, one, jnp.asarray(shown, jnp.int32), cells, whitening)
    else:
        prepared = PreparedQuery(maps, entry.height, entry.width)
        own = _kept_classes(searcher, prepared, asked) if options.by_query or options.online else None
        if own == []:
            height, width = np.asarray(one.feature_size).tolist()
            return Explanation(0.0, (), 0.0, np.zeros((height, width), np.float32), 0.0)
        most = searcher.index.settings.num_classes
        picture = queries.describe(model, whitening, prepared, num_classes=most, class_ids=own)
        shown, vectors = picture.class_ids, picture.vectors
    evidence = encoder.explain(model, one, jnp.asarray(shown, jnp.int32), whitening, descriptor, cells)
    shares = np.asarray(class_pairs(asked_vectors, vectors))
    best = np.argsort(-shares, axis=None, kind="stable")[:count]
    names = networks.class_names(model.network.spec)
    pairs = tuple(
        ClassPair(names[asked[row]], names[shown[column]], float(shares[row, column]))
        for row, column in zip(*np.unravel_index(best, shares.shape), strict=True)
    )
    height, width = np.asarray(one.feature_size).tolist()
    total = float(shares.sum())
    return Explanation(
        score=total,
        pairs=pairs,
        rest=total - sum(pair.share for pair in pairs),
        cells=np.asarray(evidence.cells.sum(axis=0))[:height, :width],
        constant=float(evidence.constant.sum()),
    )


def _kept_classes(searcher: Searcher, picture: PreparedQuery, asked: np.ndarray) -> list[int]:
    """Those of a query's classes whose vectors the index keeps of a picture: what OnA sums."""
    model, own = searcher.index.model, searcher.index.settings.own_classes
    if not 0 < own < model.network.spec.num_labels:
        return list(asked.tolist())
    kept = queries.describe(model, searcher.whitening, picture, num_classes=own).class_ids
    return [one for one in asked.tolist() if one in kept]
