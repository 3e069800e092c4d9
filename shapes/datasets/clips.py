"""One figure a clip, and how it moves: classes that only the order of the frames tells apart.

A figure's state is a point on a torus of four circles: how far right and how far down a centre is,
where on an orbit around it the figure is, and how large. The frame is a torus too, so that a figure
that leaves it comes in at the opposite edge; a size that grows past the largest begins again at the
smallest. A motion goes round one of the circles, forwards or backwards, from a start that is
uniform on the torus. A step along a circle keeps a uniform distribution, so every frame of every
class is drawn from the same distribution: one frame says nothing of the class. A clip played
backwards is of the opposite class, with the same frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shapes import paint
from shapes.datasets.classification import write_labels
from shapes.datasets.dataset import Dataset, Rendered
from shapes.figures import NAMES, outline, turned

MOTIONS = (
    "right",
    "left",
    "down",
    "up",
    "clockwise",
    "anticlockwise",
    "approaching",
    "receding",
)
"""Class names; a label is an index into this tuple, and its opposite the index with the last bit
flipped."""

SIDE, LENGTH = 32, 8
"""Of a frame in pixels, and of a clip in frames."""

_STREAM = 6
_ORBIT = 0.2  # its radius, as a share of the frame's side
_RADII = (0.2, 0.42)  # the smallest and the largest, as a share of the frame's side
# What a frame adds to the state, as a share of a circle: at least and at most.
_STEPS = (0.06, 0.14)


class Clip(NamedTuple):
    """A moving figure.

    Attributes:
        frames: uint8 (8, 32, 32, 3) RGB.
        label: index into `MOTIONS`.
        places: float64 (8, 3) in 0..1, of each frame how far right, how far down and how large the
            figure is; 1 is 0 again.
        masks: bool (8, 32, 32), the pixels that the figure covers by half or more.
    """

    frames: NDArray[np.uint8]
    label: int
    places: NDArray[np.float64]
    masks: NDArray[np.bool_]


def clip(seed: int, index: int) -> Clip:
    """Renders clip `index` of the set `seed`."""
    rng = np.random.default_rng((seed, _STREAM, index))
    label = int(rng.integers(len(MOTIONS)))
    places = _seen(trajectory(label, rng.uniform(size=4), rng.uniform(*_STEPS)))
    figure = turned(outline(NAMES[rng.integers(len(NAMES))]), 2 * np.pi * rng.uniform())
    back, front = paint.palette(rng)
    scene = paint.shading(rng, back, SIDE, SIDE)
    fill = paint.texture(rng, front, SIDE, SIDE)
    covers, fills = zip(*(_placed(place, figure, fill) for place in places), strict=True)
    alpha = np.stack(covers)[..., None]
    canvas = np.asarray(scene + alpha * (np.stack(fills) - scene), np.float32)
    return Clip(paint.finish(rng, canvas), label, places, alpha[..., 0] >= 0.5)


def trajectory(label: int, start: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """The states of a clip, (8, 4) in 0..1: centre's right and down, way along the orbit, size.

    Args:
        label: index into `MOTIONS`.
        start: state of the first frame.
        step: share of the circle that each frame adds, or takes away.
    """
    states = np.tile(start, (LENGTH, 1))
    sense = 1 - 2 * (label % 2)
    states[:, label // 2] += sense * step * np.arange(LENGTH)
    return states % 1


def _seen(states: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where states (8, 4) put the figure, and its size: (8, 3) in 0..1."""
    right, down, way, size = states.T
    right = right + _ORBIT * np.cos(2 * np.pi * way)
    down = down + _ORBIT * np.sin(2 * np.pi * way)  # clockwise, as rows go down
    return np.stack([right % 1, down % 1, size], axis=1)


def _placed(
    place: NDArray[np.float64], figure: NDArray[np.float64], fill: paint.Pixels
) -> tuple[paint.Pixels, paint.Pixels]:
    """A figure's share of each pixel (H, W) and its texture (H, W, 3), which goes with it."""
    right, down, size = place
    low, high = _RADII
    (column, x), (row, y) = (divmod(SIDE * part, 1) for part in (right, down))
    points = SIDE * (low + size * (high - low)) * figure + SIDE / 2 + [x, y]
    cover = paint.coverage(points, SIDE, SIDE)
    shift = (int(row) - SIDE // 2, int(column) - SIDE // 2)
    return np.roll(cover, shift, (0, 1)), np.roll(fill, shift, (0, 1))


def _write(folder: Path, truths: Mapping[str, Any]) -> None:
    write_labels(folder, truths, MOTIONS)


DATASET = Dataset(lambda seed, index: Rendered(*clip(seed, index)[:2]), _write)
