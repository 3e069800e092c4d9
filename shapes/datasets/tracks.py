"""Figures that move through a frame, come in and leave at its borders and pass behind each other.

Every figure goes straight on at its own speed. Two are sent so that they meet: the nearer one hides
the other, in part or all of it, for some frames. Identities, visible bounds and classes are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runtime.drift.identity import Row
from runtime.tasks.cutouts import Cutout
from shapes import paint
from shapes.datasets.dataset import Dataset, Rendered, write_records
from shapes.figures import DETECTION_NAMES, outline, turned

SIDE, LENGTH = 96, 10
"""Of a frame in pixels, and of a clip in frames."""

MOST_FIGURES = 4
_LEAST_FIGURES = 2
_STREAM = 7
_RADII = (0.13, 0.2)  # the smallest and the largest, as a share of the frame's side
_SPEEDS = (0.02, 0.08)  # of the frame's side in a frame
_LEAST_VISIBLE = 0.3  # of its area: what shows less is not in the truth
_MEETINGS = 0.7  # share of the clips in which the second figure meets the first
_WIDEST_ANGLE = 0.75 * np.pi  # between a figure's way and that of the one it meets, either side


class Clip(NamedTuple):
    """Moving figures.

    Attributes:
        frames: uint8 (10, 96, 96, 3) RGB.
        boxes: float32 (10, M, 4), left, top, right, bottom in pixels: the bounds of the pixels that
            show figure i by half or more; the right and lower edges are exclusive.
        visible: float32 (10, M), the share of each figure's area that shows.
        labels: int64 (M,), indices into `DETECTION_NAMES`; figures are in order from the farthest.
    """

    frames: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    visible: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def present(self) -> NDArray[np.bool_]:
        """Bool (10, M), whether enough of each figure shows to be found."""
        return np.asarray(self.visible >= _LEAST_VISIBLE)


@dataclass(frozen=True)
class _Mover:
    """A figure: its outline (P, 2) and texture (k, k, 3) around its centre, and its centres."""

    label: int
    points: NDArray[np.float64]
    fill: paint.Pixels
    centres: NDArray[np.float64]


def clip(seed: int, index: int) -> Clip:
    """Renders clip `index` of the set `seed`."""
    rng = np.random.default_rng((seed, _STREAM, index))
    back, _ = paint.palette(rng)
    scene = paint.background(rng, back, SIDE, SIDE)
    ways = _ways(rng, int(rng.integers(_LEAST_FIGURES, MOST_FIGURES + 1)))
    rng.shuffle(ways)  # so that either of two that meet may be the nearer
    movers = [_mover(rng, back, way) for way in ways]
    painted = [_painted(scene, movers, time) for time in range(LENGTH)]
    frames, boxes, visible = (np.stack(parts) for parts in zip(*painted, strict=True))
    labels = np.array([mover.label for mover in movers])
    return Clip(paint.finish(rng, frames), boxes, visible, labels)


def truth_of(found: Clip) -> tuple[Row, ...]:
    """The figures of each frame, in the form in which tracks are compared."""
    return tuple(
        Row(np.flatnonzero(here), boxes[here])
        for here, boxes in zip(found.present, found.boxes, strict=True)
    )


def _ways(rng: np.random.Generator, count: int) -> list[NDArray[np.float64]]:
    """Centres (10, 2) of each figure, as x and y in pixels; each is in the frame at some time."""
    times = np.arange(LENGTH)[:, None]
    ways: list[NDArray[np.float64]] = []
    for number in range(count):
        speed, angle = rng.uniform(*_SPEEDS) * SIDE, rng.uniform(0, 2 * np.pi)
        place, when = rng.uniform(0.15, 0.85, 2) * SIDE, int(rng.integers(LENGTH))
        if number == 1 and rng.uniform() < _MEETINGS:
            when = int(rng.integers(2, LENGTH - 2))
            place = ways[0][when] + rng.normal(0, 0.03 * SIDE, 2)
            step = ways[0][1] - ways[0][0]
            angle = np.arctan2(step[1], step[0]) + np.pi
            angle += rng.uniform(-_WIDEST_ANGLE, _WIDEST_ANGLE)
        ways.append(place + speed * (times - when) * [np.cos(angle), np.sin(angle)])
    return ways


def _mover(
    rng: np.random.Generator, back: NDArray[np.float64], centres: NDArray[np.float64]
) -> _Mover:
    label = int(rng.integers(len(DETECTION_NAMES)))
    radius, angle = rng.uniform(*_RADII) * SIDE, rng.uniform(0, 2 * np.pi)
    points = turned(radius * outline(DETECTION_NAMES[label]), angle)
    side = 2 * int(np.ceil(radius)) + 2
    fill = paint.texture(rng, paint.figure_colors(rng, back), side, side)
    return _Mover(label, points, fill, centres)


def _painted(
    scene: paint.Pixels, movers: list[_Mover], time: int
) -> tuple[paint.Pixels, NDArray[np.float32], NDArray[np.float32]]:
    """A frame (H, W, 3), the bounds of what it shows of each figure, and the shares of that."""
    canvas, shown = scene.copy(), np.zeros((len(movers), SIDE, SIDE), np.float32)
    areas = []
    for number, mover in enumerate(movers):
        (column, x), (row, y) = (divmod(centre, 1) for centre in mover.centres[time])
        side = len(mover.fill)
        cover = paint.coverage(mover.points + side / 2 + [x, y], side, side)
        areas.append(cover.sum())
        top, left = int(row) - side // 2, int(column) - side // 2
        here = np.s_[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
        height, width = canvas[here].shape[:2]
        there = np.s_[max(-top, 0) :, max(-left, 0) :]
        alpha, fill = cover[there][:height, :width], mover.fill[there][:height, :width]
        shown[(slice(number), *here)] *= 1 - alpha
        shown[(number, *here)] = alpha
        canvas[here] += alpha[..., None] * (fill - canvas[here])
    visible = shown.sum(axis=(1, 2)) / np.array(areas)
    boxes = np.array([Cutout.of(layer >= 0.5).bounds for layer in shown], np.float32)
    return canvas, boxes, visible.astype(np.float32)


def _image(seed: int, index: int) -> Rendered:
    found = clip(seed, index)
    return Rendered(found.frames, truth_of(found))


def _write(folder: Path, truths: Mapping[str, Any]) -> None:
    """Writes tracks.json; see `runtime.tasks.tracking.read_tracks`."""
    records = [
        {
            "file": file,
            "frames": [
                [
                    [*map(int, box), int(identity)]
                    for box, identity in zip(row.boxes, row.ids, strict=True)
                ]
                for row in truth
            ],
        }
        for file, truth in truths.items()
    ]
    write_records(folder / "tracks.json", records)


DATASET = Dataset(_image, _write)
