"""Intervals against scipy, closed forms and their promised coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from runtime.drift.bootstrap import bootstrap_mean, percentile_interval, resample_counts
from runtime.drift.intervals import paired_difference, wilson


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(0, 7), (1, 1), (3, 10), (127, 128), (500, 500)])
def test_wilson_is_scipys(successes: int, n: int, confidence: float) -> None:
    expected = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    # Both are the same closed form in float64: only rounding differs.
    assert wilson(successes, n, confidence) == pytest.approx(
        (expected.low, expected.high), abs=1e-12
    )


def test_wilson_is_exact_at_its_ends() -> None:
    assert wilson(49, 49).high == 1.0
    assert wilson(0, 49).low == 0.0


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        wilson(successes, n)


def test_wilson_refuses_a_percentage_as_confidence() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        wilson(1, 2, 95)


def test_paired_difference_approaches_the_normal_interval() -> None:
    losses, gains, n = 900, 600, 100_000
    share = (losses - gains) / n
    half = 1.959964 * np.sqrt(((losses + gains) / n - share**2) / n)
    # Half a pair in each cell moves the ends by less than 1 / n.
    expected = (share - half, share + half)
    assert paired_difference(losses, gains, n) == pytest.approx(expected, abs=1 / n)


def test_paired_difference_is_not_certain_when_nothing_changed() -> None:
    low, high = paired_difference(0, 0, 100)
    assert low == pytest.approx(-high)
    # Agresti and Min: z * sqrt(1 / (n + 2)) / sqrt(n + 2).
    assert high == pytest.approx(1.959964 / 102, rel=1e-6)


def test_paired_difference_covers_the_truth() -> None:
    generator = np.random.default_rng(0)
    losses, gains, _ = generator.multinomial(60, [0.06, 0.02, 0.92], size=2000).T
    intervals = [paired_difference(int(a), int(b), 60) for a, b in zip(losses, gains, strict=True)]
    covered = np.mean([low <= 0.04 <= high for low, high in intervals])
    # 95 % is promised; 2000 draws have a standard error of 0.5 %, and the interval is discrete.
    assert covered >= 0.93


@pytest.mark.parametrize("counts", [(0, 0, 0), (-1, 0, 5), (3, 3, 5)])
def test_paired_difference_refuses_impossible_counts(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected counts"):
        paired_difference(*counts)


def test_bootstrap_mean_approaches_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(0.3, 2.0, 4000)
    half = 1.959964 * values.std() / np.sqrt(4000)
    found = bootstrap_mean(values, resamples=4000)
    # A 2.5 % quantile of 4000 resamples has a standard error of about 4 % of the half width;
    # three of those.
    assert found == pytest.approx((values.mean() - half, values.mean() + half), abs=0.12 * half)


def test_bootstrap_mean_covers_the_truth() -> None:
    generator = np.random.default_rng(2)
    samples = generator.exponential(1.0, (400, 60))
    intervals = [bootstrap_mean(row, resamples=400, seed=k) for k, row in enumerate(samples)]
    covered = np.mean([low <= 1.0 <= high for low, high in intervals])
    # 95 % is the asymptote; 60 values of a skewed law fall short of it by about 2 %, and 400
    # draws have a standard error of 1.1 %.
    assert 0.89 <= covered <= 0.99


def test_bootstrap_of_constant_values_has_no_width() -> None:
    assert bootstrap_mean(np.full(30, 0.1)) == (0.1, 0.1)


def test_bootstrap_is_reproducible_and_depends_on_the_seed() -> None:
    values = np.random.default_rng(3).random(50)
    assert bootstrap_mean(values, seed=5) == bootstrap_mean(values, seed=5)
    assert bootstrap_mean(values, seed=5) != bootstrap_mean(values, seed=6)


def test_bootstrap_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 images"):
        bootstrap_mean(np.array([]))


def test_resamples_draw_n_images_each_and_come_in_bounded_pieces() -> None:
    pieces = list(resample_counts(5000, resamples=1000))
    assert len(pieces) > 1
    counts = np.concatenate(pieces)
    assert counts.shape == (1000, 5000)
    assert (counts.sum(1) == 5000).all()
    # Each image is drawn once on average; 1000 draws of variance 1, five standard errors.
    assert np.abs(counts.mean(0) - 1).max() < 5 / np.sqrt(1000)


def test_percentile_interval_without_bias_is_the_quantiles() -> None:
    statistics = np.arange(1001) / 1000
    # One value of the 1001 is the middle itself, so nothing is shifted.
    assert percentile_interval(0.5, statistics) == pytest.approx((0.025, 0.975), abs=1e-6)


def test_percentile_interval_moves_against_the_bias() -> None:
    low, high = percentile_interval(0.4, np.arange(1001) / 1000) or (0, 0)
    # Efron: the ends are the quantiles at Phi(2 z0 -+ 1.96) with z0 = Phi^-1(0.4005).
    shift = 2 * stats.norm.ppf(0.4005)
    expected = stats.norm.cdf([shift - 1.959964, shift + 1.959964])
    assert (low, high) == pytest.approx(expected, abs=1e-3)


def test_percentile_interval_leaves_undefined_resamples_out() -> None:
    statistics = np.array([np.nan, 0.25, 0.25])
    assert percentile_interval(0.25, statistics) == (0.25, 0.25)
    assert percentile_interval(0.25, np.array([np.nan])) is None
    assert percentile_interval(np.nan, statistics) is None
