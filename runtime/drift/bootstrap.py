"""Confidence intervals of any statistic over images, by drawing the images again."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from runtime.drift.intervals import Interval, z_score

MIN_IMAGES = 20
"""A bootstrap of fewer images says too little: a handful can agree by luck and give width 0."""

_CHUNK_VALUES = 2_000_000


def resample_counts(
    n: int, *, resamples: int = 1000, seed: int = 0
) -> Iterator[npt.NDArray[np.float64]]:
    """Bootstrap resamples of n images, as how often each image was drawn.

    Both models' values of an image get the same count, which is what makes a difference *paired*.

    Yields:
        float64 (rows, n), whole numbers, each row summing to n. The rows of all pieces are
        `resamples`; a piece is small enough to bound memory. The same seed gives the same rows.
    """
    generator = np.random.default_rng(seed)
    rows = max(1, _CHUNK_VALUES // n)
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        yield generator.multinomial(n, np.full(n, 1.0 / n), size=size).astype(np.float64)


def percentile_interval(
    value: float, statistics: npt.NDArray[np.float64], confidence: float = 0.95
) -> Interval | None:
    """The bias-corrected percentile interval of a value and its resampled statistics (resamples,).

    The correction matters to AP: drawing images again repeats easy ones and raises it, so that
    plain percentiles would lie too high. Source: B. Efron, "Nonparametric standard errors and
    confidence intervals", Canadian Journal of Statistics 9 (1981).

    Returns:
        None where the value or every statistic is NaN; otherwise NaN statistics are left out.
    """
    defined = statistics[~np.isnan(statistics)]
    if defined.size == 0 or np.isnan(value):
        return None
    below = ((defined < value).sum() + 0.5 * (defined == value).sum()) / defined.size
    # Half a resample from either end, where the normal quantile would be infinite.
    margin = 0.5 / defined.size
    normal = NormalDist()
    shift = 2 * normal.inv_cdf(float(np.clip(below, margin, 1 - margin)))
    z = z_score(confidence)
    low, high = np.quantile(defined, [normal.cdf(shift - z), normal.cdf(shift + z)])
    return Interval(float(low), float(high))


def bootstrap_mean(
    values: npt.NDArray[np.float64],
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Bootstrap interval of the mean of values (n,); constant values give width 0.

    For a paired comparison, give each image's difference.

    Raises:
        ValueError: there are no values.
    """
    n = len(values)
    if n == 0:
        raise ValueError("found 0 images, expected at least 1: give images to measure on")
    # Values are taken from the first, so that equal ones sum to exactly zero in any resample.
    origin = float(values[0])
    shifted = values - origin
    means = np.concatenate(
        [counts @ shifted / n for counts in resample_counts(n, resamples=resamples, seed=seed)]
    )
    interval = percentile_interval(float(shifted.mean()), means, confidence)
    if interval is None:
        raise ValueError("found NaN among the values, expected finite numbers")
    return Interval(origin + interval.low, origin + interval.high)
