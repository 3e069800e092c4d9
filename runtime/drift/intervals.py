"""Confidence intervals of shares of images and of their differences, in closed form."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple


class Interval(NamedTuple):
    """A two-sided confidence interval, in the unit of its metric."""

    low: float
    high: float


def wilson(successes: float, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion.

    Unlike the normal approximation it has a width when all trials agree: n of n successes give
    [n / (n + z^2), 1]. Source: E. B. Wilson, "Probable inference, the law of succession, and
    statistical inference", Journal of the American Statistical Association 22 (1927).

    Raises:
        ValueError: n is not positive, or successes is outside 0..n.
    """
    if n < 1:
        raise ValueError(f"found {n} images, expected at least 1: give images to measure on")
    if not 0 <= successes <= n:
        raise ValueError(f"found {successes} successes of {n}, expected a count from 0 to {n}")
    z = z_score(confidence)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # The ends are exact where rounding would leave 1 - 1e-16 and make "all agree" look less.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Interval(low, high)


def paired_difference(losses: int, gains: int, n: int, confidence: float = 0.95) -> Interval:
    """Interval of (losses - gains) / n over n pairs of yes/no outcomes.

    The Wald interval after half a pair was added to each of the four outcomes, so that a set in
    which nothing changed still has a width of about 2 z / n, where a bootstrap would claim
    certainty. Source: A. Agresti and Y. Min, "Simple improved confidence
    intervals for comparing matched proportions", Statistics in Medicine 24 (2005).

    Args:
        losses: pairs that were right in the first sample and wrong in the second.
        gains: pairs that were wrong in the first sample and right in the second.
        n: all pairs.
        confidence: the share of such intervals that hold the true difference.

    Raises:
        ValueError: n is not positive, or the counts do not fit in it.
    """
    if n < 1 or losses < 0 or gains < 0 or losses + gains > n:
        raise ValueError(
            f"found {losses} losses and {gains} gains of {n} pairs, expected counts within n >= 1"
        )
    total = n + 2
    centre = (losses - gains) / total
    changed = (losses + gains + 1) / total
    half = z_score(confidence) * math.sqrt((changed - centre * centre) / total)
    return Interval(max(-1.0, centre - half), min(1.0, centre + half))


def z_score(confidence: float) -> float:
    """The standard normal quantile that leaves (1 - confidence) / 2 above it."""
    if not 0 < confidence < 1:
        raise ValueError(f"found confidence {confidence}, expected a share between 0 and 1")
    return NormalDist().inv_cdf((1 + confidence) / 2)
