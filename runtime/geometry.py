"""Where a frame comes to lie in what a model is given; sizes are (height, width) in pixels."""

from __future__ import annotations

from typing import NamedTuple

Size = tuple[int, int]
Region = tuple[float, float, float, float]
"""What a whole frame covers of an image, in 0..1 of it: left, top, right, bottom."""


class Placement(NamedTuple):
    """A frame that is resized to `target` and laid on a canvas, which may cut it.

    Attributes:
        target: what the whole frame becomes.
        offset: (top, left) of the frame on the canvas; negative where the canvas cuts it.
        canvas: what the model is given.
    """

    target: Size
    offset: tuple[int, int]
    canvas: Size

    @property
    def window(self) -> tuple[int, int, int, int]:
        """The part of the target that the canvas shows: top, left, bottom, right."""
        (height, width), (top, left) = self.target, self.offset
        return (
            max(-top, 0),
            max(-left, 0),
            min(self.canvas[0] - top, height),
            min(self.canvas[1] - left, width),
        )

    @property
    def region(self) -> Region:
        """What the whole frame covers of the canvas."""
        (height, width), (top, left), (high, wide) = self.target, self.offset, self.canvas
        return left / wide, top / high, (left + width) / wide, (top + height) / high


def keep_aspect(frame: Size, size: int, max_size: int | None) -> Size:
    """The size after the shorter side became `size`, as torchvision and DETR round.

    DETR applies `max_size` by shrinking `size` first and rounding it, and leaves a frame
    alone whose shorter side then already fits; the longer side follows by truncation.
    """
    height, width = frame
    short, long = sorted(frame)
    exact = float(size)
    if max_size is not None and long / short * size > max_size:
        exact = max_size * short / long
        size = round(exact)
    if short == size:
        return frame
    # In this order, as DETR multiplies: another one may truncate to one pixel less.
    long, size = int(exact * long / short), max(size, 1)
    return (long, size) if width <= height else (size, long)


def letterboxed(frame: Size, canvas: Size) -> Placement:
    """A frame as large as fits the canvas, in its centre, rounded as Pillow rounds."""
    (height, width), (high, wide) = frame, canvas
    if width * high > wide * height:
        target = max(round(height / width * wide), 1), wide
    else:
        target = high, max(round(width / height * high), 1)
    offset = round((high - target[0]) / 2), round((wide - target[1]) / 2)
    return Placement(target, offset, canvas)


def cropped(target: Size, side: int) -> Placement:
    """The centre `side` x `side`, rounding offsets as torchvision's `center_crop` does."""
    top, left = (_offset(length, side) for length in target)
    return Placement(target, (top, left), (side, side))


def _offset(length: int, side: int) -> int:
    if length < side:
        return (side - length) // 2
    # Python's round goes to even on a half, which is torchvision's rule as well.
    return -round((length - side) / 2)
