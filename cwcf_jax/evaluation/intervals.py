"""How far a mean over queries can be trusted: percentile bootstrap (Efron 1979), queries being what is resampled."""

import numpy as np
from numpy.typing import ArrayLike

BLOCK = 1000
"""Samples that are drawn at once."""


def interval(
    per_query: ArrayLike, *, confidence: float = 0.95, samples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Low and high end of the confidence interval of the mean.

    Args:
        per_query: [q], one value of each query, average precision for instance; finite, at least 2.
        confidence: between 0 and 1.
        samples: how often q queries are drawn with replacement, at least 1.
        seed: equal seeds give equal intervals.

    Raises:
        ValueError: an argument is outside its range.
    """
    from scipy import stats  # type: ignore[import-untyped]  # here: it takes a second to import

    values = _values(per_query)
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    if samples < 1:
        raise ValueError(f"the bootstrap needs at least 1 sample, not {samples}")
    low, high = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=samples,
        batch=BLOCK,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(low), float(high)


def paired_difference(
    first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95, samples: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of ``first - second`` and both ends of its confidence interval.

    Both methods are taken at the queries that were drawn, so what makes a query hard for either cancels. Arguments and
    errors as in `interval`; ValueError too if the two do not hold as many queries.
    """
    ours, theirs = _values(first), _values(second)
    if len(ours) != len(theirs):
        raise ValueError(f"values of {len(ours)} queries cannot be paired with values of {len(theirs)}")
    difference = ours - theirs
    low, high = interval(difference, confidence=confidence, samples=samples, seed=seed)
    return float(difference.mean()), low, high


def _values(per_query: ArrayLike) -> np.ndarray:
    values = np.asarray(per_query, np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"the bootstrap needs values of at least 2 queries, not an array of shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("the bootstrap needs finite values")
    return values
