"""This module computes confidence intervals of a mean over queries by the percentile bootstrap (Efron 1979).

The bootstrap resamples the queries.
"""

import numpy as np
from numpy.typing import ArrayLike

BLOCK_SAMPLES = 1000
"""The number of samples that are drawn at once."""


def interval(
    per_query: ArrayLike, *, confidence: float = 0.95, samples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Computes the low and the high end of the confidence interval of the mean.

    Args:
        per_query: shape [q], q >= 2; one finite value for each query, average precision for instance.
        confidence: probability that the interval covers the mean, between 0 and 1.
        samples: how often q queries are drawn with replacement, at least 1.
        seed: seed of the draws; equal seeds give equal intervals.

    Raises:
        ValueError: an argument is outside its range.
    """
    from scipy import stats  # type: ignore[import-untyped]  # imported late: the import takes a second

    values = _values(per_query)
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    if samples < 1:
        raise ValueError(f"the bootstrap needs at least 1 sample, not {samples}")
    low, high = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=samples,
        batch=BLOCK_SAMPLES,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(low), float(high)


def paired_difference(
    first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95, samples: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """Computes the mean of ``first - second`` and both ends of the mean's confidence interval.

    Each sample compares both methods on the same queries, so the difficulty of a query cancels. Arguments and errors
    are those of `interval`.

    Raises:
        ValueError: the two methods have different numbers of queries.
    """
    first_values, second_values = _values(first), _values(second)
    if len(first_values) != len(second_values):
        raise ValueError(
            f"values of {len(first_values)} queries cannot be paired with values of {len(second_values)} queries"
        )
    difference = first_values - second_values
    low, high = interval(difference, confidence=confidence, samples=samples, seed=seed)
    return float(difference.mean()), low, high


def _values(per_query: ArrayLike) -> np.ndarray:
    values = np.asarray(per_query, np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"the bootstrap needs values of at least 2 queries, not an array of shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("the bootstrap needs finite values")
    return values
