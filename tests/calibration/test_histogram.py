"""The histogram is a function of the set of values alone, and equals numpy's at its range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calibration.histogram import BINS, Histogram

VALUES = hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e6, 1e6, width=32))


def histogram(*chunks: np.ndarray) -> Histogram:
    result = Histogram()
    for chunk in chunks:
        result.add(chunk)
    return result


def same(a: Histogram, b: Histogram) -> bool:
    extremes = (a.low, a.high, a.exponent) == (b.low, b.high, b.exponent)
    return extremes and np.array_equal(a.counts, b.counts)


@settings(max_examples=60, deadline=None)
@given(VALUES)
@example(np.array([16384.0, -7.0065e-45], np.float32))  # a subnormal beside a wide range
def test_counts_equal_numpy_at_the_final_range(values: np.ndarray) -> None:
    ours = histogram(*(values[i : i + 1] for i in range(len(values))))
    # Exact in float64: the edges are multiples of a power of two.
    theirs, _ = np.histogram(
        values.astype(np.float64), BINS, (-(ours.limit or 1.0), ours.limit or 1.0)
    )
    assert np.array_equal(ours.counts, theirs)
    assert (ours.low, ours.high) == (values.min(), values.max())


@settings(max_examples=60, deadline=None)
@given(VALUES, st.randoms(use_true_random=False))
def test_order_and_grouping_do_not_matter(values: np.ndarray, random: object) -> None:
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = values[order]
    cut = len(values) // 3
    assert same(histogram(values), histogram(shuffled[:cut], shuffled[cut:]))


def test_merging_equals_counting_together() -> None:
    random = np.random.default_rng(0)
    small, large = random.normal(0, 1e-3, 500), random.normal(0, 40.0, 500)
    a, b = histogram(small.astype(np.float32)), histogram(large.astype(np.float32))
    together = histogram(large.astype(np.float32), small.astype(np.float32))
    copy = histogram(small.astype(np.float32))
    a.merge(b)
    b.merge(copy)
    assert same(a, together)
    assert same(b, together)


def test_zeros_counted_before_the_range_is_known_stay_at_zero() -> None:
    early = histogram(np.zeros(3, np.float32), np.array([-5.0], np.float32))
    assert early.counts[BINS // 2] == 3
    assert same(early, histogram(np.array([-5.0, 0.0, 0.0, 0.0], np.float32)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_refuses_what_is_not_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="infinite value or a NaN"):
        histogram(np.array([1.0, bad], np.float32))
