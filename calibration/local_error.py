"""How well one linear survives int8 on its own.

The error is that of one linear alone, on sampled rows of its input, with activations and weights
fake-quantised as in the int8 graph. Means over the rows are removed first: a constant error by
output channel is what the bias correction takes away (calibration/qdq.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from calibration.ranges import ChannelStatistics


@dataclass(frozen=True)
class Affine:
    """The change (x - offset) / scale of a linear's input, by channel; float64 (inputs,)."""

    scale: np.ndarray
    offset: np.ndarray

    @property
    def is_identity(self) -> bool:
        """True when it changes nothing."""
        return bool(np.all(self.scale == 1.0) and np.all(self.offset == 0.0))


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
