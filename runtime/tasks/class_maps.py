"""From the logits of a small map to the class of every pixel of a frame, without its logits.

The enlargement is bilinear between the centres of pixels, as PyTorch's
`interpolate(mode="bilinear", align_corners=False)`: clamped at the map's border. Between four
neighbouring points of the map each class stays between its least and its greatest value there, so
that one which lies below another's least cannot win, and most classes need no enlargement at all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.geometry import Size
from runtime.tasks.task import Corners

ClassMap = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


class _Taps(NamedTuple):
    """Between which two points of the map each row (or column) of the frame lies."""

    low: npt.NDArray[np.intp]
    share: npt.NDArray[np.float32]


def class_map(logits: npt.NDArray[Any], size: Size, region: Corners) -> ClassMap:
    """The class of each pixel that is greatest after the enlargement, the first among equals.

    Args:
        logits: (classes, h, w).
        size: (height, width) of the frame in pixels.
        region: what the frame covers of the map, in 0..1 of it: left, top, right, bottom. What
            lies beyond the map, as a crop leaves it, is taken from its border.

    Returns:
        (height, width): uint8, or uint16 of more than 255 classes. Pixels around a logit that is
        not finite have any class.
    """
    values = np.asarray(logits, np.float32)
    classes, height, width = values.shape
    # A second row and column to interpolate with, where there is one only.
    values = np.pad(values, ((0, 0), (0, int(height == 1)), (0, int(width == 1))), mode="edge")
    rows = _taps(size[0], height, region[1], region[3])
    columns = _taps(size[1], width, region[0], region[2])
    found = np.zeros(size, np.uint8 if classes < 256 else np.uint16)
    starts = np.flatnonzero(np.diff(rows.low, prepend=-1))
    with np.errstate(invalid="ignore", over="ignore"):
        possible = _possible(values)
        for start, stop in zip(starts, [*starts[1:], size[0]], strict=True):
            above = rows.low[start]
            chosen = np.flatnonzero(possible[:, above])
            edges = _wide(values[chosen, above : above + 2], columns)
            _fill(found[start:stop], chosen, edges, rows.share[start:stop, None])
    return found


def _taps(length: int, points: int, first: float, last: float) -> _Taps:
    """Where the centres of `length` pixels lie that cover first..last of a map of `points`."""
    centres = first + (np.arange(length) + 0.5) / length * (last - first)
    place = np.clip(centres * points - 0.5, 0, points - 1)
    low = np.minimum(place.astype(np.intp), max(points - 2, 0))
    return _Taps(low, (place - low).astype(np.float32))


def _possible(values: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """(classes, h - 1): which classes may win anywhere between two rows of (classes, h, w)."""

    def of_corners(choose: np.ufunc) -> npt.NDArray[np.float32]:
        pairs = choose(values[:, :-1], values[:, 1:])
        return np.asarray(choose(pairs[:, :, :-1], pairs[:, :, 1:]))

    bar = of_corners(np.minimum).max(axis=0)
    return np.asarray((of_corners(np.maximum) >= bar).any(axis=2))


def _wide(values: npt.NDArray[np.float32], columns: _Taps) -> npt.NDArray[np.float32]:
    """(K, 2, w) -> (K, 2, W)."""
    left, right = values[..., columns.low], values[..., columns.low + 1]
    right -= left
    right *= columns.share
    right += left
    return right


def _fill(
    found: ClassMap,
    chosen: npt.NDArray[np.intp],
    edges: npt.NDArray[np.float32],
    share: npt.NDArray[np.float32],
) -> None:
    """Writes the winner among `chosen` into rows (n, W) between two edges (K, 2, W), in place."""
    best: npt.NDArray[np.float32] | None = None
    for index, (above, below) in zip(chosen, edges, strict=True):
        value = share * (below - above)
        value += above
        if best is None:
            best = value
            found[...] = index
        else:
            np.copyto(found, index, where=value > best, casting="unsafe")
            np.maximum(best, value, out=best)
