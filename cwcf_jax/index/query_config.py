"""How an index is searched: fast, thoroughly, or with steps of one's choice."""

import dataclasses

from cwcf_jax.search.pipeline import CAUTIOUS, SearchConfig

AGGREGATIONS = "ofa", "ona"


@dataclasses.dataclass(frozen=True)
class QueryConfig:
    """How to search: fast, as it is without arguments, `thorough`, or with steps of one's choice (docs/ranking.md).

    Attributes:
        aggregation: ``ofa``, pictures under their own classes, or ``ona``, under the query's.
        rerank: how many of the best are ranked anew by their best regions (section 4.5 of the paper).
        expand: how many of the best are added to the query for a second search.
        classes: names or indices; the query and all pictures are then described by these alone.
        online: how many of the best that OfA finds are scored anew under the query's classes (OnA).
        reciprocal: how many of the best are ranked last by the neighbours that they share with the query, see
            `search.pipeline.CAUTIOUS`.
    """

    aggregation: str = "ofa"
    rerank: int = 0
    expand: int = 0
    classes: tuple[str, ...] = ()
    online: int = 0
    reciprocal: int = 0

    @classmethod
    def thorough(cls, classes: tuple[str, ...] = (), **chosen: str | int) -> "QueryConfig":
        """`SearchConfig.thorough`, the slower and better search.

        Args:
            classes: as in `QueryConfig`; every picture is then described by these from the start.
            chosen: other fields; each must be as it is without a word.

        Raises:
            ValueError: a field is given that a thorough search chooses itself.
        """
        for name, value in chosen.items():
            if value != getattr(cls, name):
                raise ValueError(f"a thorough search chooses {name} itself; leave out {name}, or thorough")
        config = SearchConfig.thorough()
        return cls(
            rerank=config.rerank,
            expand=config.expansion,
            classes=classes,
            online=0 if classes else config.online,
            reciprocal=config.neighbours,
        )

    def __post_init__(self) -> None:
        if self.aggregation not in AGGREGATIONS:
            raise ValueError(f"unknown aggregation {self.aggregation!r}; known: {', '.join(AGGREGATIONS)}")
        for name in ("rerank", "expand", "online", "reciprocal"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is a number of pictures, not {getattr(self, name)}")
        if self.online and self.by_query:
            raise ValueError(
                "online changes nothing where all pictures are described under the query's classes: leave out online, "
                "or both aggregation=ona and classes"
            )

    @property
    def by_query(self) -> bool:
        """Whether all pictures are described under the query's classes, from the first search on."""
        return self.aggregation == "ona" or bool(self.classes)

    @property
    def config(self) -> SearchConfig:
        """What follows the first search; the query is part of the expanded one."""
        return SearchConfig(
            rerank=self.rerank,
            expansion=self.expand,
            add_query=self.expand > 0,
            online=self.online,
            neighbourhood=dataclasses.replace(CAUTIOUS, images=self.reciprocal) if self.reciprocal else None,
        )
