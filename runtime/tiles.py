"""A frame of any size as overlapping tiles of one size, and one image of what became of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from runtime.geometry import Region
from runtime.pixels import Frame

_MOST_PIXELS = 1 << 26  # of all tiles of a frame; a model is given 12 bytes for each
_SMALL = 16  # side of a tile, in pixels, below which it takes no less time


def cut(frame: Frame, side: int, overlap: int) -> tuple[Frame, tuple[Region, ...]]:
    """The tiles of a frame, row by row.

    Neighbours share `overlap` pixels or more: tiles are spread evenly, the first and the last one
    at the frame's edges. A frame that is smaller than a tile goes on as its mirror image.

    Args:
        frame: (H, W, channels).
        side: of a tile, in pixels.
        overlap: less than `side`.

    Returns:
        Tiles (n, side, side, channels), which share no memory with the frame, and what the whole
        frame covers of each.

    Raises:
        ValueError: the frame is too large.
    """
    height, width = frame.shape[:2]
    tops, lefts = (_starts(length, side, overlap) for length in (height, width))
    if len(tops) * len(lefts) * max(side, _SMALL) ** 2 > _MOST_PIXELS:
        raise ValueError(
            f"a frame of {height} x {width} pixels would be cut into {len(tops)} x {len(lefts)} "
            f"tiles of {side} x {side}, expected {_MOST_PIXELS} pixels at most; give parts of it"
        )
    missing = [(0, max(side - length, 0)) for length in (height, width)]
    whole = np.pad(frame, [*missing, (0, 0)], mode="reflect")
    places = [(top, left) for top in tops for left in lefts]
    tiles = np.stack([whole[top : top + side, left : left + side] for top, left in places])
    regions = tuple(
        (-left / side, -top / side, (width - left) / side, (height - top) / side)
        for top, left in places
    )
    return tiles, regions


def stitch(tiles: npt.NDArray[np.float32], regions: Sequence[Region]) -> npt.NDArray[np.float32]:
    """The image that tiles are parts of, each fading into its neighbours.

    A tile counts by the square of a sine that falls to nothing at its edges, where a model knows
    least of what is around; where tiles overlap, it is their weighted mean.

    Args:
        tiles: (n, channels, S, S), of any S.
        regions: what the whole image covers of each, as `cut` gives it.

    Returns:
        (H, W, channels), larger than the frame by as much as the tiles are.
    """
    side = tiles.shape[-1]
    boxes = np.rint(np.array(regions) * side).astype(int)  # of the image, in pixels of each tile
    width, height = (int(length) for length in boxes[0, 2:] - boxes[0, :2])
    fade = np.sin(np.pi * (np.arange(side, dtype=np.float32) + 0.5) / side) ** 2
    window = fade[:, None, None] * fade[:, None]
    total = np.zeros((height, width, tiles.shape[1]), np.float32)
    weight = np.zeros((height, width, 1), np.float32)
    for tile, (left, top, _, _) in zip(tiles, boxes, strict=True):
        inside = np.s_[-top : side - top, -left : side - left]
        high, wide = total[inside].shape[:2]
        total[inside] += (tile.transpose(1, 2, 0) * window)[:high, :wide]
        weight[inside] += window[:high, :wide]
    return total / weight


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """Where tiles begin along one side of a frame."""
    count = max(-(-(length - overlap) // (side - overlap)), 1)
    return [int(start) for start in np.linspace(0, max(length - side, 0), count).round()]
