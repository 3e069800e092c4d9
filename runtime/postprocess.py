"""From a model's outputs to predictions, per task."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.errors import EngineError

_TOP = 5
_WHOLE = (0.0, 0.0, 1.0, 1.0)  # a frame that covers its image


class Guess(NamedTuple):
    """One class and its probability in 0..1."""

    label: str
    class_index: int
    probability: float


@dataclasses.dataclass(frozen=True)
class Classification:
    """The five most probable classes of one frame, the most probable first."""

    top: tuple[Guess, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Detections:
    """The objects of one frame, the surest first.

    Attributes:
        boxes: float32 (M, 4): left, top, right, bottom in pixels of the original frame.
        scores: float32 (M,), probabilities in 0..1.
        labels: M class names.
        indices: int64 (M,), class indices.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: tuple[str, ...]
    indices: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """How many objects were found."""
        return len(self.scores)


def classify(logits: npt.NDArray[Any], labels: Sequence[str]) -> list[Classification]:
    """Logits (N, classes) to the five most probable classes of each frame.

    Raises:
        EngineError: the labels are not one per class.
    """
    _check_labels(labels, logits.shape[-1])
    probabilities = _softmax(logits)
    # Stable, so that equal probabilities keep the order of their classes.
    best = np.argsort(-probabilities, axis=-1, kind="stable")[:, :_TOP]
    return [
        Classification(tuple(Guess(labels[i], int(i), float(row[i])) for i in indices))
        for row, indices in zip(probabilities, best, strict=True)
    ]


def detect(
    logits: npt.NDArray[Any],
    boxes: npt.NDArray[Any],
    frame_sizes: Sequence[tuple[int, int]],
    labels: Sequence[str],
    threshold: float = 0.5,
    regions: Sequence[tuple[float, float, float, float]] | None = None,
) -> list[Detections]:
    """DETR's outputs to the objects of each frame.

    Args:
        logits: (N, queries, classes + 1), "no object" last.
        boxes: (N, queries, 4): centre x, centre y, width, height in 0..1 of the image without
            its padding.
        frame_sizes: (height, width) in pixels of each original frame.
        labels: one name per class.
        threshold: the least score of an object that is kept.
        regions: left, top, right, bottom of each frame in 0..1 of its image, as
            `runtime.preprocess.Batch` has them; without, every frame covers its image.

    Raises:
        EngineError: the labels are not one per class.
    """
    _check_labels(labels, logits.shape[-1] - 1)
    probabilities = _softmax(logits)[..., :-1]
    indices, scores = probabilities.argmax(axis=-1), probabilities.max(axis=-1)
    # All frames together, as each call of NumPy takes longer than its work for one frame.
    placed = _in_frames(boxes, frame_sizes, regions or [_WHOLE] * len(frame_sizes))
    orders = np.argsort(-scores, axis=-1, kind="stable")
    counts = np.count_nonzero(scores >= threshold, axis=-1)
    found = []
    for n, count in enumerate(counts.tolist()):
        order = orders[n, :count]
        kept = indices[n, order]
        found.append(
            Detections(
                boxes=placed[n, order],
                scores=scores[n, order],
                labels=tuple(labels[i] for i in kept.tolist()),
                indices=kept,
            )
        )
    return found


def _in_frames(
    boxes: npt.NDArray[Any],
    frame_sizes: Sequence[tuple[int, int]],
    regions: Sequence[tuple[float, float, float, float]],
) -> npt.NDArray[np.float32]:
    """Centres and sides (N, queries, 4) in 0..1 of images to corners in pixels of the frames."""
    centres, sides = boxes[..., :2].astype(np.float32), boxes[..., 2:].astype(np.float32)
    corners = np.concatenate([centres - sides / 2, centres + sides / 2], axis=-1)
    region = np.array(regions, np.float32)[:, None]
    start, extent = region[..., :2], region[..., 2:] - region[..., :2]
    side = np.array([(width, height) for height, width in frame_sizes], np.float32)[:, None]
    twice = (1, 1, 2)
    within = (corners - np.tile(start, twice)) / np.tile(extent, twice)
    side = np.tile(side, twice)
    return np.asarray(np.clip(within * side, 0, side), np.float32)


def _softmax(logits: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    values = logits.astype(np.float32)
    # Shifting by the maximum leaves the result unchanged and keeps exp from overflowing.
    values = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(values / values.sum(axis=-1, keepdims=True))


def _check_labels(labels: Sequence[str], classes: int) -> None:
    if len(labels) != classes:
        raise EngineError(
            f"found {len(labels)} labels for {classes} classes; build the bundle with one each"
        )
