"""How well one linear survives int8 on its own, and the smoothing that helps it most.

The error is that of one linear alone, on sampled rows of its input, with activations and weights
fake-quantised as in the int8 graph. Means over the rows are removed first: a constant error by
output channel is what the bias correction takes away (calibration/qdq.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.ranges import ChannelStatistics

_STRENGTHS = (0.35, 0.5, 0.65, 0.8, 0.9, 1.0)
_CLIPS = tuple(percent / 100.0 for percent in range(100, 19, -4))


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


@dataclass(frozen=True)
class FakeQuantised:
    """A linear as int8 will compute it behind an affine change of its input.

    Attributes:
        affine: The change of the input.
        step: Scale of the changed activations.
        weights: Rounded weights of the changed linear, float64 (inputs, outputs).
    """

    affine: Affine
    step: float
    weights: np.ndarray

    def activations(self, rows: np.ndarray) -> np.ndarray:
        """Changed and rounded activations, float64 (rows, inputs)."""
        changed = (rows - self.affine.offset) / self.affine.scale
        return np.asarray(np.clip(np.rint(changed / self.step), -128, 127) * self.step)


def fake_quantised(
    matrix: np.ndarray, statistics: ChannelStatistics, affine: Affine, clip: float = 1.0
) -> FakeQuantised:
    """Quantises a linear's activations and (by output channel, min-max) its weights.

    Activations are clipped at `clip` times their largest magnitude.
    """
    extremes = np.stack([statistics.low, statistics.high])
    limit = float(np.abs((extremes - affine.offset) / affine.scale).max()) * clip
    scaled = matrix * affine.scale[:, None]
    steps = np.maximum(np.abs(scaled).max(axis=0), 1e-30) / 127.0
    return FakeQuantised(affine, (limit or 1.0) / 127.0, np.rint(scaled / steps) * steps)


def best_threshold(statistics: ChannelStatistics, matrices: Sequence[np.ndarray]) -> float:
    """The clipping threshold, out of a grid below min-max, with the least output error.

    After Choukroun et al., "Low-bit Quantization of Neural Networks for Efficient Inference",
    ICCV Workshops 2019 (grid search for the least squared error), but of the outputs.

    Args:
        statistics: Of the tensor that the linears read.
        matrices: Weights (inputs, outputs) of each of them.

    Returns:
        A positive number in the tensor's own units.
    """
    identity = Affine(np.ones(len(statistics.low)), np.zeros(len(statistics.low)))
    # From the largest down, so that of two equal errors the one that clips less is kept.
    errors = [output_error(statistics, matrices, identity, clip) for clip in _CLIPS]
    largest = float(np.maximum(statistics.high, -statistics.low).max())
    return largest * _CLIPS[int(np.argmin(errors))] or 1.0


def output_error(
    statistics: ChannelStatistics,
    matrices: Iterable[np.ndarray],
    affine: Affine,
    clip: float = 1.0,
) -> float:
    """Sum over linears of (squared output error) / (squared output), means over rows removed."""
    total = 0.0
    for matrix in matrices:
        rounded = fake_quantised(matrix, statistics, affine, clip)
        exact = statistics.sample @ matrix
        ours = rounded.activations(statistics.sample).astype(np.float32) @ rounded.weights
        error = ours - exact
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
