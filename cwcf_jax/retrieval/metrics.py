"""Average precision as the Oxford buildings benchmark computes it."""

from collections.abc import Collection, Sequence


def average_precision(ranking: Sequence[int], positives: Collection[int], junk: Collection[int] = ()) -> float:
    """Area under the precision-recall curve by the trapezoid rule, junk skipped as if absent.

    ``ap += (recall - old_recall) * (old_precision + precision) / 2`` with an old precision of 1 at the start: the
    benchmark's `compute_ap.cpp` (Philbin et al. 2007). Positives missing from the ranking are never recalled.

    Raises:
        ValueError: no positives, a positive that is also junk, or an image ranked twice.
    """
    ranking, positives, junk = [int(i) for i in ranking], frozenset(positives), frozenset(junk)
    if not positives:
        raise ValueError("average precision is not defined without positives")
    if positives & junk:
        raise ValueError(f"positive and junk at once: {sorted(positives & junk)}")
    if len(set(ranking)) != len(ranking):
        raise ValueError("an image is ranked twice")
    found = seen = 0
    area, old_recall, old_precision = 0.0, 0.0, 1.0
    for image in ranking:
        if image in junk:
            continue
        seen += 1
        found += image in positives
        recall, precision = found / len(positives), found / seen
        area += (recall - old_recall) * (old_precision + precision) / 2.0
        old_recall, old_precision = recall, precision
    return area


def mean_average_precision(per_query: Sequence[float]) -> float:
    """Mean over queries; ValueError without any."""
    if len(per_query) == 0:
        raise ValueError("mean average precision is not defined without queries")
    return sum(per_query) / len(per_query)
