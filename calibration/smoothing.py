"""SmoothQuant's scales, and which of them serves the linears that share an input best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calibration.local_error import Affine, output_error
from calibration.ranges import ChannelStatistics

_STRENGTHS = (0.35, 0.5, 0.65, 0.8, 0.9, 1.0)


def smoothing_scales(spread: np.ndarray, matrix: np.ndarray, strength: float) -> np.ndarray:
    """SmoothQuant's scales: spread**strength / weights**(1 - strength), geometric mean 1.

    Xiao et al., "SmoothQuant", ICML 2023, equation 4.

    Args:
        spread: Largest magnitude of each input channel, (inputs,).
        matrix: Weights (inputs, outputs) of everything that reads the input.
        strength: How much of the difficulty moves into the weights, 0..1.
    """
    largest = np.abs(matrix).max(axis=1).astype(np.float64)
    # A channel that was always zero says nothing: keep it in the middle.
    log_spread, log_weight = _log(spread.astype(np.float64)), _log(largest)
    exponent = strength * log_spread - (1.0 - strength) * log_weight
    read = largest > 0
    if read.any():
        # A channel that nobody reads may take any scale: one that widens no range.
        exponent = np.where(read, exponent, log_spread - (log_spread - exponent)[read].mean())
    return np.asarray(np.exp(exponent - exponent.mean()))


def best_scales(statistics: ChannelStatistics, matrices: Sequence[np.ndarray]) -> Affine:
    """The identity, or the smoothing scales with the least output error.

    Args:
        statistics: Of the input the linears share.
        matrices: Weights (inputs, outputs) of each linear that will be quantised.
    """
    zero = np.zeros(len(statistics.low))
    spread = np.maximum(statistics.high, -statistics.low)
    joint = np.concatenate(matrices, axis=1)
    candidates = [Affine(np.ones(len(zero)), zero)]
    candidates += [Affine(smoothing_scales(spread, joint, a), zero) for a in _STRENGTHS]
    errors = [output_error(statistics, matrices, candidate) for candidate in candidates]
    return candidates[int(np.argmin(errors))]


def _log(positive: np.ndarray) -> np.ndarray:
    """Natural logarithm; zeros become the mean of the others."""
    alive = positive > 0
    if not alive.any():
        return np.zeros_like(positive)
    logs = np.log(np.where(alive, positive, 1.0))
    return np.where(alive, logs, logs[alive].mean())
