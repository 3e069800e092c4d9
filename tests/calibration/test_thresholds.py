"""Clipping thresholds against searches written out with loops over the values themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from calibration.histogram import Histogram
from calibration.thresholds import METHODS, clipped_divergence, threshold


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    random = np.random.default_rng(5)
    return np.concatenate([random.normal(0, 1, 20000), random.normal(0, 12, 40)]).astype(np.float32)


@pytest.fixture(scope="module")
def histogram(values: np.ndarray) -> Histogram:
    result = Histogram()
    result.add(values)
    return result


def squared_error(values: np.ndarray, limit: float) -> float:
    scale = limit / 127
    restored = np.clip(np.rint(values / scale), -128, 127) * scale
    return float(np.sum((restored - values.astype(np.float64)) ** 2))


def test_minmax_is_the_largest_magnitude(values: np.ndarray, histogram: Histogram) -> None:
    assert threshold(histogram, "minmax") == np.abs(values).max()


@pytest.mark.parametrize("percentile", [50.0, 90.0, 99.9, 100.0])
def test_percentile(values: np.ndarray, histogram: Histogram, percentile: float) -> None:
    exact = np.percentile(np.abs(values), percentile, method="inverted_cdf")
    # The upper edge of the bin that holds the exact percentile: at most one bin above it.
    assert 0 <= threshold(histogram, "percentile", percentile) - exact <= histogram.limit / 2048


def test_mse_finds_the_best_of_a_grid(values: np.ndarray, histogram: Histogram) -> None:
    largest = float(np.abs(values).max())
    best = min(squared_error(values, largest * i / 100) for i in range(1, 101))
    found = threshold(histogram, "mse")
    assert found < largest
    # The search sees bin centres, not values: its choice costs at most 1 % more than the best.
    assert squared_error(values, found) <= best * 1.01


def test_divergence_equals_the_published_procedure(histogram: Histogram) -> None:
    counts, _ = histogram.magnitudes()
    for bins in (128, 200, 777, 1024):
        p = [float(c) for c in counts[:bins]]
        q = [0.0] * bins
        for level in range(128):
            mine = [i for i in range(bins) if i * 128 // bins == level]
            occupied = [i for i in mine if p[i] > 0]
            for i in occupied:
                q[i] = sum(p[j] for j in mine) / len(occupied)
        p[-1] += float(counts[bins:].sum())
        total_p, total_q = sum(p), sum(q)
        expected = 0.0
        for a, b in zip(p, q, strict=True):
            if a > 0:
                expected += a / total_p * math.log(a / total_p / (b / total_q)) if b else math.inf
        # Both sum the same terms in float64.
        assert clipped_divergence(counts, bins) == pytest.approx(expected, rel=1e-9)


def test_entropy_is_the_least_divergence_of_its_stride(histogram: Histogram) -> None:
    counts, edges = histogram.magnitudes()
    last = int(np.flatnonzero(counts)[-1]) + 1
    tried = [last, *range(last - 8, 127, -8)]
    best = min(tried, key=lambda bins: clipped_divergence(counts, bins))
    assert threshold(histogram, "entropy") == min(edges[best - 1], histogram.absmax)


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_of_zeros_has_a_usable_threshold(method: str) -> None:
    zeros = Histogram()
    zeros.add(np.zeros(8, np.float32))
    assert threshold(zeros, method) == 1.0  # type: ignore[arg-type]


def test_refusals(histogram: Histogram) -> None:
    with pytest.raises(ValueError, match="unknown calibration method 'median'; use one of minmax"):
        threshold(histogram, "median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"percentile is 0.0; it must lie in \(0, 100\]"):
        threshold(histogram, "percentile", 0.0)
    with pytest.raises(ValueError, match="histogram is empty"):
        threshold(Histogram(), "mse")
