"""This module computes the metrics of Oxford Buildings (Philbin et al. 2007) and of its revision.

Source of the revision: Radenovic et al. 2018.
"""

from collections.abc import Collection, Sequence

SETUPS = ("easy", "medium", "hard")
"""The setups of the revised benchmark: a setup says which judgements count as positives, see `difficulty`."""


def average_precision(ranking: Sequence[int], positives: Collection[int], junk: Collection[int] = ()) -> float:
    """Computes the area under the precision-recall curve by the trapezoid rule, without junk images.

    The formula is ``ap += (recall - old_recall) * (old_precision + precision) / 2`` with an old precision of 1 at the
    start, as in the benchmark's `compute_ap.cpp` (Philbin et al. 2007); the revised benchmark computes the same area.
    Positives that the ranking lacks are never recalled.

    Raises:
        ValueError: no positives, a positive that is also junk, or an image ranked twice.
    """
    flags = _positive_flags("average precision", ranking, positives, junk)
    num_positives = len(frozenset(positives))
    recalled = 0
    area, old_recall, old_precision = 0.0, 0.0, 1.0
    for rank, is_positive in enumerate(flags, start=1):
        recalled += is_positive
        recall, precision = recalled / num_positives, recalled / rank
        area += (recall - old_recall) * (old_precision + precision) / 2.0
        old_recall, old_precision = recall, precision
    return area


def precision_at(ranking: Sequence[int], positives: Collection[int], junk: Collection[int], k: int) -> float:
    """Computes the share of positives among the first ``k`` images without junk: mP@k of Radenovic et al. 2018.

    As in Radenovic's evaluation, ``k`` is cut to the rank of the last positive, so that a query with few positives can
    reach 1. The precision of a ranking without positives is 0.

    Raises:
        ValueError: see `average_precision`; or ``k`` is below 1.
    """
    flags = _positive_flags("precision", ranking, positives, junk, k)
    if not any(flags):
        return 0.0
    cut = min(k, len(flags) - flags[::-1].index(True))
    return sum(flags[:cut]) / cut


def recall_at(ranking: Sequence[int], positives: Collection[int], junk: Collection[int], k: int) -> float:
    """Computes the share of positives that are among the first ``k`` images; junk and errors as in `precision_at`."""
    return sum(_positive_flags("recall", ranking, positives, junk, k)[:k]) / len(frozenset(positives))


def difficulty(
    easy: Collection[int], hard: Collection[int], junk: Collection[int], setup: str
) -> tuple[frozenset[int], frozenset[int]]:
    """Returns the positives and the junk of a query under one of `SETUPS`: table 2 of Radenovic et al. 2018.

    The positives are the easy images under "easy", the hard images under "hard", and both under "medium". Easy and
    hard images that are no positives are junk. Queries without positives do not count in the mean of a setup.

    Raises:
        ValueError: there is no such setup.
    """
    if setup not in SETUPS:
        raise ValueError(f"unknown setup {setup!r}; known: {', '.join(SETUPS)}")
    positives = frozenset(easy if setup == "easy" else hard if setup == "hard" else (*easy, *hard))
    return positives, frozenset((*easy, *hard, *junk)) - positives


def mean_average_precision(per_query: Sequence[float]) -> float:
    """Computes the mean of the queries' average precisions; raises ValueError if there are no queries."""
    if len(per_query) == 0:
        raise ValueError("mean average precision is not defined without queries")
    return sum(per_query) / len(per_query)


def _positive_flags(
    metric: str, ranking: Sequence[int], positives: Collection[int], junk: Collection[int], k: int = 1
) -> list[bool]:
    """Says for each image of the ranking that is not junk whether the image is a positive."""
    ranking, positives, junk = [int(i) for i in ranking], frozenset(positives), frozenset(junk)
    if not positives:
        raise ValueError(f"{metric} is not defined without positives")
    if positives & junk:
        raise ValueError(f"positive and junk at once: {sorted(positives & junk)}")
    if len(set(ranking)) != len(ranking):
        raise ValueError("an image is ranked twice")
    if k < 1:
        raise ValueError(f"{metric} is taken at 1 image or more, not at {k}")
    return [image in positives for image in ranking if image not in junk]
