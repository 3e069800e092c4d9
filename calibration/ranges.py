"""What calibration images say about each tensor: histograms, and statistics by channel.

Everything kept is of fixed size: memory does not grow with the number of images. Histograms,
extremes and means depend neither on the batch size nor on the order of the images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import onnx_ir as ir

from calibration.activations import Batches, stream

SAMPLED_IMAGES = 32
SAMPLED_ROWS = 16
_FIXED_POINT = 2.0**24


class Observer(Protocol):
    """Anything that takes in one image's tensor at a time."""

    def add(self, values: np.ndarray) -> None:
        """Takes in one image's tensor, float32."""


class ChannelStatistics:
    """Statistics of a tensor over its last axis.

    Attributes:
        low: Minimum by channel, float32 (channels,).
        high: Maximum by channel, float32 (channels,).
        rows: Up to SAMPLED_ROWS evenly spaced rows of each of the first SAMPLED_IMAGES images.
    """

    STATE = ("low", "high", "sample", "lengths", "sum", "count")

    def __init__(self) -> None:
        """Of no values."""
        self.low = np.full(1, np.inf, np.float32)
        self.high = np.full(1, -np.inf, np.float32)
        self.rows: list[np.ndarray] = []
        self._sum = np.zeros(1, np.int64)
        self._count = 0

    def add(self, values: np.ndarray) -> None:
        """Adds one image's tensor, float32 (..., channels)."""
        rows = values.reshape(-1, values.shape[-1])
        self.low = np.minimum(self.low, rows.min(axis=0))
        self.high = np.maximum(self.high, rows.max(axis=0))
        # Integers add up to the same sum in any order; floats would not.
        total = np.rint(rows.sum(axis=0, dtype=np.float64) * _FIXED_POINT).astype(np.int64)
        self._sum = self._sum + total
        self._count += len(rows)
        if len(self.rows) < SAMPLED_IMAGES:
            chosen = np.linspace(0, len(rows) - 1, min(SAMPLED_ROWS, len(rows)))
            self.rows.append(rows[np.rint(chosen).astype(int)])

    def state(self) -> dict[str, np.ndarray]:
        """Everything it knows, as arrays; `from_state` makes an equal one of them."""
        lengths = np.array([len(rows) for rows in self.rows], np.int64)
        sample = self.sample if self.rows else np.zeros((0, len(self.low)), np.float32)
        count = np.array(self._count, np.int64)
        values = (self.low, self.high, sample, lengths, self._sum, count)
        return dict(zip(self.STATE, values, strict=True))

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]) -> ChannelStatistics:
        """Statistics with the state that another gave out."""
        made = cls()
        made.low, made.high, made._sum = state["low"], state["high"], state["sum"]
        made.rows = list(np.split(state["sample"], np.cumsum(state["lengths"])))[:-1]
        made._count = int(state["count"])
        return made

    @property
    def mean(self) -> np.ndarray:
        """Mean by channel, float64 (channels,)."""
        if not self._count:
            raise ValueError("no values were added; the mean is undefined")
        return self._sum / (_FIXED_POINT * self._count)

    @property
    def sample(self) -> np.ndarray:
        """The sampled rows, float32 (rows, channels)."""
        return np.concatenate(self.rows)


def observe(
    model: ir.Model,
    observers: Mapping[str, Sequence[Observer]],
    batches: Batches,
    threads: int | None = None,
) -> int:
    """Shows each named tensor of every image to its observers; returns the number of images.

    Raises:
        ValueError: A tensor holds an infinite value or a NaN, or there are no images.
    """
    count = 0
    for tensors in stream(model, list(observers), batches, threads):
        count += 1
        for name, values in tensors.items():
            if not np.isfinite(values.sum(dtype=np.float64)):
                raise ValueError(
                    f"tensor {name!r} of the float graph holds an infinite value or a NaN on "
                    f"image {count}; such a model cannot be quantised"
                )
            for observer in observers[name]:
                observer.add(values)
    return count
