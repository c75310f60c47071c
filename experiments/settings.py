"""This module defines the flags of sweeps: lists of N_C, N_pca, expansions and re-rankings to measure."""

import dataclasses
import itertools
from collections.abc import Sequence

from absl import flags
from absl.flags import FlagValues

from cwcf_jax import networks
from cwcf_jax.search.pipeline import Neighbourhood, SearchConfig
from experiments import neighbourhood_flags, published
from experiments.numbers import integers

AGGREGATIONS = ("ofa", "ona", "predefined")

flags.disclaim_key_flags()


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """A `SweepConfig` lists the settings to measure.

    Attributes:
        nc: values of N_C.
        npca: values of N_pca.
        qe: numbers of descriptors in the expanded query; 0: no expansion.
        rerank: numbers of images that are re-ranked by regions; 0: no re-ranking.
        alpha: exponent of alpha query expansion; None: the paper's plain sum.
        augment: number of nearest rows that each row of the database is expanded by; 0: none.
        aggregations: names in `AGGREGATIONS`.
        predefined_classes: class indices, most important first; empty: the most frequent classes.
        online: numbers of OfA's best images that are scored anew by OnA; 0: none.
        neighbourhoods: rankings by neighbourhood; None: no such ranking.
    """

    nc: tuple[int, ...]
    npca: tuple[int, ...]
    qe: tuple[int, ...]
    rerank: tuple[int, ...]
    alpha: float | None
    augment: int
    aggregations: tuple[str, ...]
    predefined_classes: tuple[int, ...]
    online: tuple[int, ...] = (0,)
    neighbourhoods: tuple[Neighbourhood | None, ...] = (None,)

    def configs(self) -> list[SearchConfig]:
        """Returns all combinations of second looks by OnA, re-rankings, expansions and rankings by neighbourhood."""
        configs = []
        steps = itertools.product(self.online, self.rerank, self.qe, self.neighbourhoods)
        for online, rerank, qe, neighbourhood in steps:
            alpha = self.alpha if qe else None
            expansion = SearchConfig(expansion=qe, alpha=alpha, add_query=alpha is not None)
            configs.append(dataclasses.replace(expansion, online=online, rerank=rerank, neighbourhood=neighbourhood))
        return configs

    def expansion(self) -> str:
        """Returns the differences of the expansions from the paper's, for titles."""
        alpha = "" if self.alpha is None else f", alpha {self.alpha:g}"
        return alpha + (f", database expanded by {self.augment}" if self.augment else "")


def define_flags(values: FlagValues) -> None:
    """Defines the flags of `SweepConfig`."""
    for name, default, text in (
        ("nc", ["1", "2", "4", "8", "16", "32", "64"], "Values of N_C, the number of aggregated class vectors."),
        ("npca", ["1", "32"], "Values of N_pca, the number of class vectors of each whitening image."),
        ("aggregation", list(AGGREGATIONS), "Aggregations to measure: ofa, ona, predefined."),
        (
            "predefined_classes",
            [],
            "Classes for --aggregation=predefined, most important first: 0-based indices or names, or paper for the 16 "
            "classes that Figure 5 names. Default: the classes that are most often among the 64 most probable ones of "
            "the whitening datasets' queries, or images.",
        ),
        ("qe", ["0"], "Query expansion: numbers of best images whose descriptors make the new query; 0: none."),
        ("rerank", ["0"], "Numbers of best images that are re-ranked by regions; 0: none."),
        ("online", ["0"], "Numbers of best images of OfA that are scored anew by OnA; 0: none."),
    ):
        flags.DEFINE_list(name, default, text, flag_values=values)
    text = "Exponent of alpha query expansion, which adds the query; default: the paper's plain sum."
    flags.DEFINE_float("alpha", None, text, lower_bound=0.0, flag_values=values)
    text = "Database-side expansion: number of nearest rows that each row is expanded by; 0: none."
    flags.DEFINE_integer("augment", 0, text, lower_bound=0, flag_values=values)
    neighbourhood_flags.define_flags(values)


def from_flags(values: FlagValues, spec: networks.NetworkSpec, *, smoke: bool) -> SweepConfig:
    """Returns the settings for a network; without --nc and --npca a smoke run has few. ValueError names the flag."""
    nc = ["1", "4"] if smoke and not values["nc"].present else values.nc
    npca = ["2"] if smoke and not values["npca"].present else values.npca
    config = SweepConfig(
        nc=integers("nc", nc, 1, spec.num_labels),
        npca=integers("npca", npca, 1, spec.num_labels),
        qe=integers("qe", values.qe, 0, None),
        rerank=integers("rerank", values.rerank, 0, None),
        alpha=values.alpha,
        augment=values.augment,
        aggregations=tuple(dict.fromkeys(values.aggregation)),
        predefined_classes=_classes(spec, values.predefined_classes),
        online=integers("online", values.online, 0, None),
        neighbourhoods=neighbourhood_flags.from_flags(values),
    )
    if any(config.online) and "ofa" not in config.aggregations:
        raise ValueError("--online has no effect without --aggregation=ofa")
    unknown = set(config.aggregations) - set(AGGREGATIONS)
    if unknown:
        raise ValueError(f"--aggregation: unknown {', '.join(sorted(unknown))}; known: {', '.join(AGGREGATIONS)}")
    class_count = len(config.predefined_classes)
    if "predefined" in config.aggregations and 0 < class_count < max(config.nc + config.npca):
        raise ValueError(f"--predefined_classes lists {class_count} classes; --nc and --npca must not ask for more")
    return config


def _classes(spec: networks.NetworkSpec, texts: Sequence[str]) -> tuple[int, ...]:
    """Returns the class indices of --predefined_classes."""
    if texts == ["paper"]:
        if spec.class_names != "imagenet":
            raise ValueError(f"--predefined_classes=paper are classes of ImageNet; {spec.name} has other classes")
        return published.PREDEFINED_CLASSES
    try:
        return tuple(dict.fromkeys(networks.class_index(spec, text) for text in texts))
    except ValueError as error:
        raise ValueError(f"--predefined_classes: {error}") from error
