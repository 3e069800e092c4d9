"""Where a frame comes to lie in what a model is given; sizes are (height, width) in pixels."""

from __future__ import annotations

from typing import NamedTuple

Size = tuple[int, int]


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
    def region(self) -> tuple[float, float, float, float]:
        """What the whole frame covers of the canvas, in 0..1 of it: left, top, right, bottom."""
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


def letterboxed(frame: Size, side: int) -> Placement:
    """A frame whose longer side becomes `side`, centred in a square, rounded as Pillow rounds."""
    height, width = frame
    if width > height:
        target = max(round(height / width * side), 1), side
    else:
        target = side, max(round(width / height * side), 1)
    offset = round((side - target[0]) / 2), round((side - target[1]) / 2)
    return Placement(target, offset, (side, side))


def cropped(target: Size, side: int) -> Placement:
    """The centre `side` x `side`, rounding offsets as torchvision's `center_crop` does."""
    top, left = (_offset(length, side) for length in target)
    return Placement(target, (top, left), (side, side))


def _offset(length: int, side: int) -> int:
    if length < side:
        return (side - length) // 2
    # Python's round goes to even on a half, which is torchvision's rule as well.
    return -round((length - side) / 2)
