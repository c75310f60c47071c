"""Metrics of the Oxford buildings benchmark (Philbin et al. 2007) and of its revision (Radenovic et al. 2018)."""

from collections.abc import Collection, Sequence

SETUPS = ("easy", "medium", "hard")
"""Of the revised benchmark: which of its judgements count as positives."""


def average_precision(ranking: Sequence[int], positives: Collection[int], junk: Collection[int] = ()) -> float:
    """Area under the precision-recall curve by the trapezoid rule, junk skipped as if absent.

    ``ap += (recall - old_recall) * (old_precision + precision) / 2`` with an old precision of 1 at the start: the
    benchmark's `compute_ap.cpp` (Philbin et al. 2007), and the same area in its revision. Positives missing from the
    ranking are never recalled.

    Raises:
        ValueError: no positives, a positive that is also junk, or an image ranked twice.
    """
    hits = _hits("average precision", ranking, positives, junk)
    wanted = len(frozenset(positives))
    found = 0
    area, old_recall, old_precision = 0.0, 0.0, 1.0
    for seen, hit in enumerate(hits, start=1):
        found += hit
        recall, precision = found / wanted, found / seen
        area += (recall - old_recall) * (old_precision + precision) / 2.0
        old_recall, old_precision = recall, precision
    return area


def precision_at(ranking: Sequence[int], positives: Collection[int], junk: Collection[int], k: int) -> float:
    """Share of positives among the first ``k`` images, junk skipped as if absent: mP@k of Radenovic et al. 2018.

    As in their evaluation, ``k`` is cut to the rank of the last positive, so that a query of few positives can reach 1;
    0 if the ranking holds none. Errors as in `average_precision`, and a ``k`` below 1.
    """
    hits = _hits("precision", ranking, positives, junk, k)
    if not any(hits):
        return 0.0
    cut = min(k, len(hits) - hits[::-1].index(True))
    return sum(hits[:cut]) / cut


def recall_at(ranking: Sequence[int], positives: Collection[int], junk: Collection[int], k: int) -> float:
    """Share of all positives that is among the first ``k`` images, junk skipped as if absent; errors as above."""
    return sum(_hits("recall", ranking, positives, junk, k)[:k]) / len(frozenset(positives))


def difficulty(
    easy: Collection[int], hard: Collection[int], junk: Collection[int], setup: str
) -> tuple[frozenset[int], frozenset[int]]:
    """Positives and junk of a query under one of `SETUPS`: table 2 of Radenovic et al. 2018.

    Easy: the easy images, hard ones are junk; medium: both; hard: the hard images, easy ones are junk. A query may be
    left without positives; such queries are no part of the setup's mean.

    Raises:
        ValueError: there is no such setup.
    """
    if setup not in SETUPS:
        raise ValueError(f"unknown setup {setup!r}; known: {', '.join(SETUPS)}")
    positives = frozenset(easy if setup == "easy" else hard if setup == "hard" else (*easy, *hard))
    return positives, frozenset((*easy, *hard, *junk)) - positives


def mean_average_precision(per_query: Sequence[float]) -> float:
    """Mean over queries; ValueError without any."""
    if len(per_query) == 0:
        raise ValueError("mean average precision is not defined without queries")
    return sum(per_query) / len(per_query)


def _hits(
    metric: str, ranking: Sequence[int], positives: Collection[int], junk: Collection[int], k: int = 1
) -> list[bool]:
    """Whether each image of the ranking is a positive, junk left out."""
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
