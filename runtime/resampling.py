"""Resizing by Pillow, or of a part alone by Pillow's arithmetic, bit for bit the same.

Pillow would make the whole of what is cropped afterwards, or a part whose place it is told in
single precision. Here a part is made by multiplication with banded matrices. Pixels are integers,
weights multiples of 2**-22, so float64 holds every sum exactly, whatever the order of a BLAS.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from runtime.filters import BAND, Taps, taps
from runtime.geometry import Size
from runtime.pixels import Frame

# Multiplications of one matrix product: what it needs stays in the cache of one core, and OpenBLAS
# wakes no other thread.
_PRODUCTS = 1 << 16


def resized(
    plane: Frame, target: Size, window: tuple[int, int, int, int], interpolation: str
) -> Frame:
    """The part `window` of what `plane` becomes when it is resized to `target`.

    Args:
        plane: uint8 (h, w) or (h, w, 3).
        target: (height, width) in pixels of the whole.
        window: top, left, bottom and right in pixels of the target.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos".

    Returns:
        uint8, of the window's size, which shares no memory with `plane`.
    """
    top, left, bottom, right = window
    if target == plane.shape[:2]:
        return plane[top:bottom, left:right].copy()
    whole = window == (0, 0, *target)
    if whole or interpolation == "nearest" or _may_go_down_first(plane.shape[:2], target):
        from PIL import Image

        image = Image.fromarray(np.ascontiguousarray(plane))
        image = image.resize(target[::-1], Image.Resampling[interpolation.upper()])
        return np.asarray(image)[top:bottom, left:right]
    height, width = plane.shape[:2]
    across = taps(width, target[1], left, right, interpolation)
    down = taps(height, target[0], top, bottom, interpolation)
    first, last = max(down.first, 0), min(down.stop, height)
    planes = plane.reshape(height, width, -1).transpose(2, 0, 1)
    planes = _filtered(planes[:, first:last], across, 0, right - left)
    planes = _filtered(planes.transpose(0, 2, 1), down, first, bottom - top)
    return planes.transpose(2, 1, 0).reshape(bottom - top, right - left, *plane.shape[2:])


def _may_go_down_first(size: tuple[int, ...], target: Size) -> bool:
    """Whether Pillow may filter columns before rows, which depends on its version.

    From 13.0 on it does for such sizes. The order matters where a filter overshoots black or white.
    """
    return size[0] - target[0] > max(2 * (size[1] - target[1]), 0)


def _filtered(rows: Frame, along: Taps, start: int, wanted: int) -> Frame:
    """Filter every row of `rows` (channels, n, length), which begin at their pixel `start`.

    Returns:
        uint8 (channels, n, wanted).
    """
    channels, count, length = rows.shape
    bands, reads, _ = along.weights.shape
    few = max(1, min(count, _PRODUCTS // (reads * BAND)))
    # Zeros surround what there is; every band looks at its own part.
    block = np.zeros((channels, few, along.stop - along.first))
    a, b, c = block.strides
    looks = as_strided(block, (bands, channels, few, reads), (along.step * c, a, b, c))
    first, last = max(along.first, start), min(along.stop, start + length)
    inside = slice(first - along.first, last - along.first)
    sums = np.empty((bands, channels, few, BAND))
    made = np.empty((channels, count, bands, BAND), np.uint8)
    for begin in range(0, count, few):
        some = rows[:, begin : begin + few, first - start : last - start]
        block[:, : some.shape[1], inside] = some
        np.matmul(looks, along.weights[:, None], out=sums)
        np.add(sums, 0.5, out=sums)  # and without the fraction: rounded, halves upwards
        np.clip(sums, 0, 255, out=sums)
        made[:, begin : begin + few] = sums[:, :, : some.shape[1]].transpose(1, 2, 0, 3)
    return made.reshape(channels, count, -1)[..., :wanted]
