"""The weights with which Pillow's filters make a row of pixels from another."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

BAND = 8  # pixels that one matrix makes; more would have more zeros among their weights
_BITS = 22  # of a weight behind the point, as Pillow has it for 8-bit pixels

_Values = npt.NDArray[np.float64]


class Taps(NamedTuple):
    """Weights of bands of `BAND` pixels each, and which pixels they are for.

    Band b reads from pixel `first + b * step` on. What it reads beyond the row has weight 0.

    Attributes:
        weights: (bands, reads, BAND), multiples of 2**-22.
    """

    first: int
    step: int
    weights: _Values

    @property
    def stop(self) -> int:
        """The first pixel after all that are read."""
        bands, reads, _ = self.weights.shape
        return self.first + self.step * (int(bands) - 1) + int(reads)


@functools.lru_cache(maxsize=16)  # a camera has two, or four in NV12
def taps(length: int, target: int, start: int, stop: int, interpolation: str) -> Taps:
    """How pixels `start` to `stop` of `target` come from a row of `length` pixels.

    As in Pillow (https://github.com/python-pillow/Pillow/blob/main/src/libImaging/Resample.c): a
    filter widens with the scale when it shrinks, what it has beyond the row is left out, and the
    rest is scaled to a sum of 1 and rounded.

    Args:
        length: pixels that there are.
        target: pixels that the whole row becomes.
        start, stop: those of them that are made.
        interpolation: "bilinear", "bicubic" or "lanczos".
    """
    function, reach = _FILTERS[interpolation]
    scale = length / target
    width = max(scale, 1.0)
    bands = -(-(stop - start) // BAND)
    centres = (np.arange(start, start + bands * BAND) + 0.5).reshape(bands, 1, BAND) * scale
    lows = np.floor(centres - reach * width + 0.5)
    highs = np.floor(centres + reach * width + 0.5)
    step = int(BAND * scale)
    begins = step * np.arange(bands).reshape(bands, 1, 1)
    first = int((lows - begins).min())
    reads = int((highs - begins).max()) - first
    pixels = first + begins + np.arange(reads).reshape(1, reads, 1)
    inside = (pixels >= np.maximum(lows, 0)) & (pixels < np.minimum(highs, length))
    weights = np.where(inside, function((pixels - centres + 0.5) * (1 / width)), 0.0)
    sums = weights.sum(axis=1, keepdims=True)
    weights /= np.where(sums == 0, 1, sums)  # 0 beyond the target, in a band that is not full
    halves = np.copysign(0.5, weights)
    return Taps(first, step, np.trunc(weights * (1 << _BITS) + halves) / (1 << _BITS))


def _bilinear(x: _Values) -> _Values:
    return np.asarray(np.maximum(1 - np.abs(x), 0))


def _bicubic(x: _Values) -> _Values:
    """Keys' cubic convolution with a = -1/2."""
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos(x: _Values) -> _Values:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


# With half the width of each, in pixels of what comes out.
_FILTERS: dict[str, tuple[Callable[[_Values], _Values], int]] = {
    "bilinear": (_bilinear, 1),
    "bicubic": (_bicubic, 2),
    "lanczos": (_lanczos, 3),
}
