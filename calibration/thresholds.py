"""Where to clip: a symmetric threshold from a histogram, by four methods.

A value is quantised to round(x / s) in [-128, 127] with s = threshold / 127.

A histogram tells how often values occur, not what depends on them. Where the most frequent values
lie at the end of the range, all methods but "minmax" cut them off; so calibration/calibrate.py
uses no other for inputs that were centred.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

from calibration.histogram import Histogram

HistogramMethod = Literal["minmax", "percentile", "mse", "entropy"]
METHODS: tuple[str, ...] = get_args(HistogramMethod)
LEVELS = 128


def threshold(
    histogram: Histogram, method: HistogramMethod = "minmax", percentile: float = 99.99
) -> float:
    """The clipping threshold, positive, in the tensor's own units.

    Args:
        histogram: Of at least one value.
        method: "minmax": the largest magnitude. "percentile": that percentile of the magnitudes.
            "mse": the least squared error of quantise-dequantise. "entropy": the least
            Kullback-Leibler divergence (Migacz, "8-bit inference with TensorRT", GTC 2017).
        percentile: In (0, 100], of the magnitudes.

    Raises:
        ValueError: Unknown method, percentile out of range, or an empty histogram.
    """
    if method not in METHODS:
        raise ValueError(f"unknown calibration method {method!r}; use one of {', '.join(METHODS)}")
    if not 0.0 < percentile <= 100.0:
        raise ValueError(f"percentile is {percentile}; it must lie in (0, 100]")
    if not histogram.counts.any():
        raise ValueError("the histogram is empty; add values first")
    if histogram.absmax == 0.0:
        return 1.0  # every value is zero, which any scale represents
    if method == "percentile":
        return _percentile(histogram, percentile)
    if method == "mse":
        return _least_squared_error(histogram)
    if method == "entropy":
        return _least_divergence(histogram)
    return histogram.absmax


def _percentile(histogram: Histogram, percentile: float) -> float:
    """The upper edge of the first bin at which the share of magnitudes reaches `percentile`."""
    counts, edges = histogram.magnitudes()
    total = np.cumsum(counts)
    needed = math.ceil(total[-1] * percentile / 100.0)
    return min(float(edges[np.searchsorted(total, needed)]), histogram.absmax)


def _least_squared_error(histogram: Histogram, candidates: int = 100) -> float:
    """Tries thresholds from 1 % to 100 % of the largest magnitude, on bin centres."""
    half = len(histogram.counts) // 2
    centres = (np.arange(-half, half) + 0.5) * (histogram.limit / half)
    used = histogram.counts > 0
    centres, counts = centres[used], histogram.counts[used]
    best, least = histogram.absmax, math.inf
    # From the largest down, so that of two equal errors the one that clips less is kept.
    for i in range(candidates, 0, -1):
        limit = histogram.absmax * i / candidates
        scale = limit / (LEVELS - 1)
        restored = np.clip(np.rint(centres / scale), -LEVELS, LEVELS - 1) * scale
        error = float(counts @ (restored - centres) ** 2)
        if error < least:
            best, least = limit, error
    return best


def _least_divergence(histogram: Histogram, stride: int = 8) -> float:
    """Migacz' search: clip P at bin i, quantise it to 128 levels as Q, minimise KL(P || Q)."""
    counts, edges = histogram.magnitudes()
    last = int(np.flatnonzero(counts)[-1]) + 1
    if last <= LEVELS:
        return histogram.absmax  # the histogram cannot tell any clipping apart
    best, least = last, math.inf
    for bins in [last, *range(last - stride, LEVELS - 1, -stride)]:
        divergence = clipped_divergence(counts, bins)
        if divergence < least:
            best, least = bins, divergence
    return min(float(edges[best - 1]), histogram.absmax)


def clipped_divergence(counts: np.ndarray, bins: int) -> float:
    """KL(P || Q) in nats of `counts` (int64, 1-D) clipped to its first `bins` bins.

    P holds the clipped counts in its last bin. Q spreads the mass that each of the 128 levels
    collected from the unclipped counts evenly over the bins of the level that are not empty.
    """
    inside = counts[:bins].astype(np.float64)
    clipped = inside.copy()
    clipped[-1] += counts[bins:].sum()
    level = np.arange(bins) * LEVELS // bins
    occupied = inside > 0
    mass = np.bincount(level, inside, minlength=LEVELS)
    cells = np.bincount(level, occupied, minlength=LEVELS)
    spread = np.where(occupied, mass[level] / np.maximum(cells[level], 1), 0.0)
    p, q = clipped / clipped.sum(), spread / spread.sum()
    filled = p > 0
    # A clipped tail on an empty last bin leaves Q without mass there: never a good threshold.
    if np.any(q[filled] == 0.0):
        return math.inf
    return float(np.sum(p[filled] * np.log(p[filled] / q[filled])))
