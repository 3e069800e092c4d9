"""Output-aware thresholds and smoothing scales against searches written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.output_thresholds import best_threshold
from calibration.ranges import ChannelStatistics
from calibration.smoothing import smoothing_scales

CLIPS = np.arange(100, 19, -4) / 100


def observed(values: np.ndarray) -> ChannelStatistics:
    channels = ChannelStatistics()
    for start in range(0, len(values), 16):
        channels.add(values[None, start : start + 16])
    return channels


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """512 rows of 24 channels, all of them sampled; channel 0 is ten times as large."""
    values = np.random.default_rng(0).normal(size=(512, 24)).astype(np.float32)
    values[:, 0] *= 10.0
    return values


def output_error(rows: np.ndarray, matrix: np.ndarray, limit: float) -> float:
    """Squared output error without its mean, relative to the output's variance."""
    rows, matrix = rows.astype(np.float64), matrix.astype(np.float64)
    step, steps = limit / 127, np.abs(matrix).max(axis=0) / 127
    ours = np.clip(np.rint(rows / step), -128, 127) * step @ (np.rint(matrix / steps) * steps)
    exact = rows @ matrix
    return float((ours - exact).var(axis=0).sum() / exact.var(axis=0).sum())


@pytest.mark.parametrize("weight", [1.0, 0.02], ids=["large-matters", "large-hardly-matters"])
def test_threshold_is_the_best_of_the_grid(rows: np.ndarray, weight: float) -> None:
    matrix = np.random.default_rng(1).normal(size=(24, 32)).astype(np.float32)
    matrix[0] *= weight
    largest = float(np.abs(rows).max())
    found = best_threshold(observed(rows), [matrix])
    errors = {clip: output_error(rows, matrix, largest * clip) for clip in CLIPS}
    # The search multiplies in float32: its choice costs at most 0.1 % more than the best.
    assert errors[min(CLIPS, key=lambda clip: abs(clip * largest - found))] <= (
        min(errors.values()) * 1.001
    )
    assert (found < largest / 2) == (weight < 1.0)


def test_all_readers_count(rows: np.ndarray) -> None:
    random = np.random.default_rng(1)
    careless, careful = (random.normal(size=(24, 32)).astype(np.float32) for _ in range(2))
    careless[0] *= 0.02
    statistics = observed(rows)
    alone, together = (
        best_threshold(statistics, readers) for readers in ([careless], [careless, careful])
    )
    assert together > alone


def test_a_tensor_of_zeros_has_a_usable_threshold() -> None:
    statistics = observed(np.zeros((32, 24), np.float32))
    assert best_threshold(statistics, [np.ones((24, 32), np.float32)]) == 1.0


def test_a_channel_that_nobody_reads_widens_no_range(rows: np.ndarray) -> None:
    matrix = np.random.default_rng(1).normal(size=(24, 32)).astype(np.float32)
    matrix[0] = 0.0
    spread = np.abs(rows).max(axis=0)
    changed = spread / smoothing_scales(spread, matrix, 0.5)
    assert changed[0] <= changed[1:].max()
