"""A histogram whose range doubles, with merges that lose nothing.

The range is [-2**e, 2**e) with e chosen from the data, and the bin edges are multiples of
2**e / (BINS / 2). Doubling the range merges neighbouring bins exactly, because every old edge
with an even index is a new edge. So the result is a function of the set of values alone: not of
their order, of how they were grouped, or of the range first guessed.
"""

from __future__ import annotations

import math

import numpy as np

BINS = 4096
"""Bins over both signs: a value of the largest binade falls into one of 1024."""

SMALLEST_EXPONENT = -100
"""Below 2**-100 the float32 scaling factor of the bins would overflow."""


class Histogram:
    """Counts of float32 values over [-limit, limit), with their exact minimum and maximum."""

    def __init__(self) -> None:
        """Of no values."""
        self.counts = np.zeros(BINS, np.int64)
        self.exponent: int | None = None
        self.low = math.inf
        self.high = -math.inf

    @property
    def limit(self) -> float:
        """Half the width of the range; 0.0 while every value seen was zero."""
        return 0.0 if self.exponent is None else math.ldexp(1.0, self.exponent)

    @property
    def absmax(self) -> float:
        """The largest magnitude seen."""
        return max(-self.low, self.high, 0.0)

    def add(self, values: np.ndarray) -> None:
        """Counts `values`, float32 of any shape.

        Raises:
            ValueError: A value is infinite or not a number.
        """
        values = values.ravel()
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("found an infinite value or a NaN")
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._grow(max(-low, high))
        # Scaling by a power of two is exact, so floor() sees the true position; in float32 the
        # smallest numbers would underflow to zero, and a negative one would change its bin.
        scaled = np.multiply(values, BINS / 2 / (self.limit or 1.0), dtype=np.float64)
        index = np.floor(scaled, out=scaled).astype(np.int32)
        index += BINS // 2
        self.counts += np.bincount(index, minlength=BINS)

    def merge(self, other: Histogram) -> None:
        """Adds the counts of `other`, which is left as it was."""
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self._grow(other.absmax)
        copy = Histogram()
        copy.counts, copy.exponent = other.counts, other.exponent
        copy._grow(self.absmax)
        self.counts = self.counts + copy.counts

    def magnitudes(self) -> tuple[np.ndarray, np.ndarray]:
        """(counts, upper edges) of |x|, int64 and float64, (BINS / 2,)."""
        half = BINS // 2
        counts = self.counts[half:] + self.counts[:half][::-1]
        return counts, np.arange(1, half + 1) * (self.limit / half)

    def _grow(self, magnitude: float) -> None:
        """Doubles the range until `magnitude` lies strictly inside."""
        if magnitude == 0.0:
            return
        # frexp: magnitude = m * 2**e with 0.5 <= m < 1, so 2**e is strictly larger.
        needed = max(math.frexp(magnitude)[1], SMALLEST_EXPONENT)
        if self.exponent is None:
            self.exponent = needed  # zeros counted so far sit at an edge that never moves
            return
        for _ in range(self.exponent, needed):
            quarter = BINS // 4
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.zeros(BINS, np.int64)
            self.counts[quarter : 3 * quarter] = merged
        self.exponent = max(self.exponent, needed)
