"""This module defines the query config, which selects the steps of a search in an index."""

import dataclasses

from cwcf_jax.search.pipeline import CAUTIOUS_RECIPROCAL, SearchConfig

AGGREGATIONS = "ofa", "ona"


@dataclasses.dataclass(frozen=True)
class QueryConfig:
    """A `QueryConfig` says how an index is searched (docs/ranking.md).

    Without arguments it is the fast search; `thorough` returns the thorough one.

    Attributes:
        aggregation: ``ofa``: pictures are described by their own classes; ``ona``: by the query's classes.
        rerank: number of best pictures that are re-ranked by their best regions (section 4.5 of the paper).
        expand: number of best pictures whose descriptors are added to the query for a second search.
        classes: names or indices of classes that describe the query and all pictures; empty: see ``aggregation``.
        online: number of best pictures of OfA that are scored again under the query's classes (OnA).
        reciprocal: number of best pictures that are ordered by k-reciprocal re-ranking in the last step, see
            `search.pipeline.CAUTIOUS`.
    """

    aggregation: str = "ofa"
    rerank: int = 0
    expand: int = 0
    classes: tuple[str, ...] = ()
    online: int = 0
    reciprocal: int = 0

    @classmethod
    def thorough(cls, classes: tuple[str, ...] = (), **fields: str | int) -> "QueryConfig":
        """Returns the query config of the thorough search, which is slower and better (`SearchConfig.thorough`).

        Args:
            classes: see `QueryConfig`; every picture is described by these classes in the first search already.
            fields: other fields, which must have their default values.

        Raises:
            ValueError: a field has another value than its default.
        """
        for name, value in fields.items():
            if value != getattr(cls, name):
                raise ValueError(f"a thorough search chooses {name} itself; leave out {name}, or thorough")
        search_config = SearchConfig.thorough()
        return cls(
            rerank=search_config.rerank,
            expand=search_config.expansion,
            classes=classes,
            online=0 if classes else search_config.online,
            reciprocal=search_config.neighbours,
        )

    def __post_init__(self) -> None:
        if self.aggregation not in AGGREGATIONS:
            raise ValueError(f"unknown aggregation {self.aggregation!r}; known: {', '.join(AGGREGATIONS)}")
        for name in ("rerank", "expand", "online", "reciprocal"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is a number of pictures, not {getattr(self, name)}")
        if self.online and self.by_query:
            raise ValueError(
                "online changes nothing where all pictures are described by the query's classes already: leave out "
                "online, or both aggregation=ona and classes"
            )

    @property
    def by_query(self) -> bool:
        """Returns whether the first search describes all pictures by the query's classes."""
        return self.aggregation == "ona" or bool(self.classes)

    @property
    def search_config(self) -> SearchConfig:
        """Returns the search config of the steps after the first search; expansion includes the query itself."""
        return SearchConfig(
            rerank=self.rerank,
            expansion=self.expand,
            add_query=self.expand > 0,
            online=self.online,
            neighbourhood=dataclasses.replace(CAUTIOUS_RECIPROCAL, images=self.reciprocal) if self.reciprocal else None,
        )
