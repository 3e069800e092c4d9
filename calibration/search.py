"""The search for smoothing strengths: which candidate leaves a linear's output closest to float.

The error is that of one linear alone, on sampled rows of its input, with activations and weights
fake-quantised as in the int8 graph. Means over the rows are removed first: a constant error by
output channel is what the bias correction takes away (calibration/qdq.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.ranges import ChannelStatistics

STRENGTHS = (0.35, 0.5, 0.65, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class Affine:
    """The change (x - offset) / scale of a linear's input, by channel; float64 (inputs,)."""

    scale: np.ndarray
    offset: np.ndarray

    @property
    def is_identity(self) -> bool:
        """True when it changes nothing."""
        return bool(np.all(self.scale == 1.0) and np.all(self.offset == 0.0))


def smoothing_scales(spread: np.ndarray, matrix: np.ndarray, strength: float) -> np.ndarray:
    """SmoothQuant's scales: spread**strength / weights**(1 - strength), geometric mean 1.

    Xiao et al., "SmoothQuant", ICML 2023, equation 4.

    Args:
        spread: Largest magnitude of each input channel, (inputs,).
        matrix: Weights (inputs, outputs) of everything that reads the input.
        strength: How much of the difficulty moves into the weights, 0..1.
    """
    largest = np.abs(matrix).max(axis=1).astype(np.float64)
    # A dead channel (or one without weights) says nothing: keep it in the middle.
    log_spread, log_weight = _log(spread.astype(np.float64)), _log(largest)
    exponent = strength * log_spread - (1.0 - strength) * log_weight
    return np.exp(exponent - exponent.mean())


def best_affine(
    statistics: ChannelStatistics, matrices: Sequence[np.ndarray], offset: np.ndarray | None = None
) -> Affine:
    """The identity, or the candidate with the least output error.

    Args:
        statistics: Of the input the linears share.
        matrices: Weights (inputs, outputs) of each linear that will be quantised.
        offset: Subtract this from the input in every candidate but the identity; None for 0.
    """
    channels = len(statistics.low)
    shift = np.zeros(channels) if offset is None else offset.astype(np.float64)
    spread = np.maximum(statistics.high - shift, shift - statistics.low)
    joint = np.concatenate(matrices, axis=1)
    candidates = [Affine(np.ones(channels), np.zeros(channels))]
    candidates += [Affine(smoothing_scales(spread, joint, a), shift) for a in STRENGTHS]
    if offset is not None:
        candidates.append(Affine(np.ones(channels), shift))
    errors = [output_error(statistics, matrices, candidate) for candidate in candidates]
    return candidates[int(np.argmin(errors))]


def output_error(
    statistics: ChannelStatistics, matrices: Iterable[np.ndarray], affine: Affine
) -> float:
    """Sum over linears of (squared output error) / (squared output), means over rows removed."""
    extremes = np.stack([statistics.low, statistics.high])
    limit = float(np.abs((extremes - affine.offset) / affine.scale).max())
    rows = (statistics.sample - affine.offset) / affine.scale
    step = (limit or 1.0) / 127.0
    rounded = (np.clip(np.rint(rows / step), -128, 127) * step).astype(np.float32)
    total = 0.0
    for matrix in matrices:
        scaled = matrix * affine.scale[:, None].astype(np.float32)
        steps = np.maximum(np.abs(scaled).max(axis=0), np.finfo(np.float32).tiny) / 127.0
        weights = np.rint(scaled / steps) * steps
        exact = statistics.sample @ matrix
        error = rounded @ weights - exact
        exact = exact - exact.mean(axis=0)
        error = error - error.mean(axis=0)
        total += float(np.sum(error**2) / max(float(np.sum(exact**2)), 1e-30))
    return total


def _log(positive: np.ndarray) -> np.ndarray:
    """Natural logarithm; zeros become the mean of the others."""
    alive = positive > 0
    if not alive.any():
        return np.zeros_like(positive)
    logs = np.log(np.where(alive, positive, 1.0))
    return np.where(alive, logs, logs[alive].mean())
