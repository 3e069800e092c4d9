"""Interpolation along one axis as a constant matrix, from ONNX's definition of Resize.

    out(i) = sum over k of  h((k - x(i)) · r) · in(k)      r = 1, or min(1, scale) with antialias

x(i) is where output i lies among the inputs, h the triangle or the cubic convolution kernel (Keys,
"Cubic convolution interpolation for digital image processing", IEEE Transactions on Acoustics,
Speech and Signal Processing 29 (1981), equation 4), whose weights are scaled to a sum of one.
Inputs outside are the nearest inside, or left out (`exclude_outside`). All in float64
(https://onnx.ai/onnx/operators/onnx__Resize.html).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
_ROUNDINGS: dict[str, Callable[[Matrix], Matrix]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@dataclass(frozen=True)
class Axis:
    """One axis of a Resize.

    Attributes:
        length: of the input.
        resized: of the output.
        scale: as the node has it; resized / length where it has sizes.
    """

    length: int
    resized: int
    scale: float


def coordinates(axis: Axis, mode: str) -> Matrix | None:
    """x of every output; None of a coordinate transformation that is not known here."""
    i = np.arange(axis.resized, dtype=np.float64)
    if mode in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric"):
        found = (i + 0.5) / axis.scale - 0.5
        if mode == "pytorch_half_pixel" and axis.resized == 1:
            return np.zeros(1)
        if mode == "half_pixel_symmetric":
            found += axis.length / 2 * (1 - axis.resized / (axis.scale * axis.length))
        return found
    if mode == "align_corners":
        return i * ((axis.length - 1) / max(axis.resized - 1, 1))
    return i / axis.scale if mode == "asymmetric" else None


def nearest_rows(axis: Axis, x: Matrix, rounding: str) -> npt.NDArray[np.int64]:
    """Which input each output copies."""
    return np.asarray(np.clip(_ROUNDINGS[rounding](x), 0, axis.length - 1).astype(np.int64))


def interpolation(
    axis: Axis, x: Matrix, cubic: float | None, antialias: bool, exclude_outside: bool
) -> Matrix:
    """The matrix, (length, resized): a row of inputs times it is the row of outputs.

    Args:
        axis: its lengths.
        x: `coordinates`.
        cubic: the kernel's coefficient a; None for linear.
        antialias: whether the kernel widens where the axis shrinks.
        exclude_outside: whether inputs outside have no weight.
    """
    ratio = min(1.0, axis.scale) if antialias else 1.0
    reach = math.ceil((1 if cubic is None else 2) / ratio)
    taps = np.floor(x)[:, None] + np.arange(-reach, reach + 2)
    weights = _kernel((taps - x[:, None]) * ratio, cubic)
    outside = (taps < 0) | (taps > axis.length - 1)
    if exclude_outside:
        weights = np.where(outside, 0.0, weights)
    weights /= weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((axis.length, axis.resized))
    rows = np.clip(taps, 0, axis.length - 1).astype(np.int64)
    np.add.at(matrix, (rows, np.arange(axis.resized)[:, None]), weights)
    return matrix


def _kernel(distance: Matrix, cubic: float | None) -> Matrix:
    d = np.abs(distance)
    if cubic is None:
        return np.maximum(1.0 - d, 0.0)
    near = ((cubic + 2) * d - (cubic + 3)) * d * d + 1
    far = cubic * (((d - 5) * d + 8) * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
