"""From places in the images that a model is given to places in the frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.tasks.task import Corners, Entry


def in_frames(
    points: npt.NDArray[Any],
    frame_sizes: Sequence[tuple[int, int]],
    regions: Sequence[Corners],
) -> npt.NDArray[np.float32]:
    """Points (N, K, 2), x and y in 0..1 of N images, to pixels of their frames, and within these.

    Args:
        points: floating-point.
        frame_sizes: (height, width) in pixels of each original frame.
        regions: left, top, right, bottom of each frame in 0..1 of its image.
    """
    sides = np.array([(width, height) for height, width in frame_sizes], np.float32)[:, None]
    return np.clip(beyond_frames(points, frame_sizes, regions), 0, sides)


def beyond_frames(
    points: npt.NDArray[Any],
    frame_sizes: Sequence[tuple[int, int]],
    regions: Sequence[Corners],
) -> npt.NDArray[np.float32]:
    """The same as `in_frames`, but what lies outside its frame stays there."""
    region = np.array(regions, np.float32)[:, None]
    start, extent = region[..., :2], region[..., 2:] - region[..., :2]
    sides = np.array([(width, height) for height, width in frame_sizes], np.float32)[:, None]
    return np.asarray((points - start) / extent * sides, np.float32)


def corners_of(boxes: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Centres and sides (..., 4) to left, top, right, bottom, in whatever unit they are."""
    centres, sides = boxes[..., :2].astype(np.float32), boxes[..., 2:].astype(np.float32)
    return np.concatenate([centres - sides / 2, centres + sides / 2], axis=-1)


def boxed_entries(
    labels: Sequence[str], scores: npt.NDArray[np.float32], boxes: npt.NDArray[np.float32]
) -> list[Entry]:
    """An entry for each of M things with its box, (M, 4) in pixels of the frame."""
    return [
        Entry(label, score, (x0, y0, x1, y1))
        for label, score, (x0, y0, x1, y1) in zip(
            labels, scores.tolist(), boxes.tolist(), strict=True
        )
    ]
