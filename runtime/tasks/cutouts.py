"""Masks of parts of a frame, each kept within its own bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.geometry import Size
from runtime.tasks.class_maps import class_map


class Cutout(NamedTuple):
    """A mask of a frame, without what surrounds it.

    Attributes:
        pixels: bool (h, w).
        left: column of the frame in which its first pixel is.
        top: row likewise.
    """

    pixels: npt.NDArray[np.bool_]
    left: int
    top: int

    @classmethod
    def of(cls, mask: npt.NDArray[Any]) -> Cutout:
        """The part of a mask (H, W) that is not empty."""
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            return cls(np.zeros((0, 0), np.bool_), 0, 0)
        window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return cls(np.asarray(mask[window], np.bool_), int(columns[0]), int(rows[0]))

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom in pixels; right and bottom are exclusive."""
        height, width = self.pixels.shape
        return self.left, self.top, self.left + width, self.top + height

    def on(self, size: Size) -> npt.NDArray[np.bool_]:
        """The mask of the whole frame, (H, W), of which it must be a part."""
        left, top, right, bottom = self.bounds
        mask = np.zeros(size, np.bool_)
        mask[top:bottom, left:right] = self.pixels
        return mask


def paste(logits: npt.NDArray[Any], box: npt.NDArray[Any], size: Size) -> Cutout:
    """The pixels of a frame at which the logits of a mask, enlarged to its box, exceed 0.

    Args:
        logits: (m, m), which cover the box; enlarged as `class_map` does it.
        box: left, top, right, bottom in pixels of the frame; it may exceed the frame.
        size: height and width of the frame in pixels.

    Returns:
        Of the pixels whose centres lie within box and frame.
    """
    frame = np.array([size[1], size[0]])
    first = np.clip(np.ceil(box[:2] - 0.5), 0, frame).astype(np.int64)
    last = np.clip(np.ceil(box[2:] - 0.5), first, frame).astype(np.int64)
    (left, top), (width, height) = first.tolist(), (last - first).tolist()
    if not width * height:
        return Cutout(np.zeros((0, 0), np.bool_), left, top)
    seen = np.concatenate([first - box[:2], last - box[:2]]) / np.tile(box[2:] - box[:2], 2)
    both = np.stack([np.zeros_like(logits), logits])
    pixels = class_map(both, (height, width), tuple(seen.tolist())) == 1
    return Cutout(pixels, left, top)


def mask_iou(found: Sequence[Cutout], truths: Sequence[Cutout]) -> npt.NDArray[np.float64]:
    """Intersection over union of the pixels of each pair, (A, B); 0 where both are empty."""
    table = np.zeros((len(found), len(truths)))
    sizes = [np.count_nonzero(truth.pixels) for truth in truths]
    for row, mine in enumerate(found):
        area = np.count_nonzero(mine.pixels)
        for column, (other, size) in enumerate(zip(truths, sizes, strict=True)):
            if shared := _shared(mine, other):
                table[row, column] = shared / (area + size - shared)
    return table


def _shared(one: Cutout, other: Cutout) -> int:
    """How many pixels are of both."""
    left, top = max(one.left, other.left), max(one.top, other.top)
    right, bottom = (min(ends) for ends in zip(one.bounds[2:], other.bounds[2:], strict=True))
    if right <= left or bottom <= top:
        return 0
    parts = (
        each.pixels[top - each.top : bottom - each.top, left - each.left : right - each.left]
        for each in (one, other)
    )
    return int(np.count_nonzero(np.logical_and(*parts)))
