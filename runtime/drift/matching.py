"""Which detections found which objects.

Detections of a class are visited by descending score; each takes the free ground-truth object that
it overlaps most, if by at least the IoU threshold. Source: T.-Y. Lin et al., "Microsoft COCO:
Common Objects in Context" (2014), and its evaluation server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from runtime.drift.overlap import sound_iou

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""IoU 0.50, 0.55 ... 0.95."""


class Boxes(Protocol):
    """The detections, or the ground truth, of one image.

    Attributes:
        boxes: float32 (M, 4), x0 y0 x1 y1 in pixels of the frame.
        scores: float32 (M,), in 0..1; not read of ground truth.
        indices: int64 (M,), class indices.
    """

    @property
    def boxes(self) -> npt.NDArray[Any]:
        """Corners."""

    @property
    def scores(self) -> npt.NDArray[Any]:
        """Probabilities."""

    @property
    def indices(self) -> npt.NDArray[Any]:
        """Classes."""


@dataclass(frozen=True)
class ClassMatches:
    """One class's detections of all images (D of them, by descending score) and their matches.

    Attributes:
        images: int64 (D,), the image of each.
        hits: bool (10, D), whether it found a box at each of `THRESHOLDS`.
        overlaps: float64 (D,), IoU with the box that it found at the first threshold, else 0.
        truths: int64 (N,), ground-truth boxes of each image.
    """

    images: npt.NDArray[np.int64]
    hits: npt.NDArray[np.bool_]
    overlaps: npt.NDArray[np.float64]
    truths: npt.NDArray[np.int64]


def box_overlap(found: Boxes, truth: Boxes) -> npt.NDArray[np.float64]:
    """IoU of the boxes of one image; a box that is not finite overlaps nothing."""
    return sound_iou(np.asarray(found.boxes), np.asarray(truth.boxes))


def match(
    detections: Sequence[Boxes],
    truths: Sequence[Boxes],
    overlap: Callable[[Any, Any], npt.NDArray[np.float64]] = box_overlap,
) -> list[ClassMatches]:
    """Matches each image's detections with its ground truth, class by class.

    A detection whose box or score is not finite is a false alarm of the highest score.

    Args:
        detections: of each image.
        truths: of each image.
        overlap: detections (A) and ground truth (B) of one image -> IoU (A, B).

    Returns:
        One record for each class of the ground truth, in the order of the classes.
    """
    classes = np.unique(np.concatenate([np.asarray(truth.indices) for truth in truths]))
    tables = [overlap(*image) for image in zip(detections, truths, strict=True)]
    return [_match_class(detections, truths, tables, label) for label in classes]


def _match_class(
    detections: Sequence[Boxes],
    truths: Sequence[Boxes],
    tables: Sequence[npt.NDArray[np.float64]],
    label: Any,
) -> ClassMatches:
    images, scores, hits, overlaps, counts = [], [], [], [], []
    for index, (found, truth, table) in enumerate(zip(detections, truths, tables, strict=True)):
        mine = np.asarray(found.indices) == label
        expected = np.asarray(truth.indices) == label
        confidence = _confidence(found)[mine]
        order = np.argsort(-confidence, kind="stable")
        sound = np.isfinite(confidence)[:, None]
        taken = _greedy(np.where(sound, table[mine][:, expected], 0.0)[order])
        images.append(np.full(len(order), index))
        scores.append(confidence[order])
        hits.append(taken > 0)
        overlaps.append(taken[0])
        counts.append(np.count_nonzero(expected))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return ClassMatches(
        np.concatenate(images)[order],
        np.concatenate(hits, axis=1)[:, order],
        np.concatenate(overlaps)[order],
        np.array(counts),
    )


def _confidence(found: Boxes) -> npt.NDArray[np.float64]:
    """Scores, infinite for what is not finite."""
    scores = np.asarray(found.scores)
    sound = np.isfinite(np.asarray(found.boxes)).all(1) & np.isfinite(scores)
    return np.where(sound, scores, np.inf)


def _greedy(overlap: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """IoU (detections by score, boxes) -> IoU with the box each takes, else 0: (10, detections)."""
    taken = np.zeros((len(THRESHOLDS), len(overlap)))
    if overlap.size == 0:
        return taken
    for row, threshold in enumerate(THRESHOLDS):
        free = overlap.copy()
        for detection in range(len(free)):
            best = int(free[detection].argmax())
            if free[detection, best] >= threshold:
                taken[row, detection] = free[detection, best]
                free[:, best] = -1.0
    return taken
