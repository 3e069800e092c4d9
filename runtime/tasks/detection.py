"""Detection: DETR's logits and boxes to the objects of a frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.batch import WHOLE, Batch
from runtime.drift.detection import METRICS, estimate
from runtime.tasks.places import boxed_entries, corners_of, in_frames
from runtime.tasks.scores import check_labels, softmax
from runtime.tasks.task import Answer, Drift, Entry, Outputs, Prediction, Task
from runtime.tasks.truths import read_records

# Detections below this score change no average precision worth naming (COCO keeps 100 a frame).
_LEAST_SCORE = 0.05


@dataclasses.dataclass(frozen=True)
class TrueBoxes:
    """Ground-truth boxes of one image, in the form in which detections are compared.

    Attributes:
        boxes: float32 (M, 4): left, top, right, bottom in pixels.
        indices: int64 (M,), class indices.
    """

    boxes: npt.NDArray[np.float32]
    indices: npt.NDArray[np.int64]

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """Ones: the truth is certain."""
        return np.ones(len(self.indices), np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Detections(Prediction):
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

    def entries(self) -> list[Entry]:
        """Every object with its box."""
        return boxed_entries(self.labels, self.scores, self.boxes)

    def as_json(self) -> dict[str, Any]:
        """Every object; boxes are left, top, right, bottom in pixels."""
        return {
            "objects": [
                {"label": entry.label, "score": entry.score, "box": list(entry.box or ())}
                for entry in self.entries()
            ]
        }


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
            `runtime.batch.Batch` has them; without, every frame covers its image.

    Raises:
        EngineError: the labels are not one per class.
    """
    check_labels(labels, logits.shape[-1] - 1)
    probabilities = softmax(logits)[..., :-1]
    indices, scores = probabilities.argmax(axis=-1), probabilities.max(axis=-1)
    # All frames together, as each call of NumPy takes longer than its work for one frame.
    corners = corners_of(boxes).reshape(len(boxes), -1, 2)
    placed = in_frames(corners, frame_sizes, regions or [WHOLE] * len(frame_sizes))
    placed = placed.reshape(boxes.shape)
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


def read_boxes(folder: Path) -> dict[str, Any]:
    """`TrueBoxes` by file name from a folder's `boxes.json`; empty where there is none.

    It is a list of `{"file": name, "boxes": [[x1, y1, x2, y2, class index], ...]}`.

    Raises:
        EngineError: it holds something else.
    """
    form = '{"file": name, "boxes": [[x1, y1, x2, y2, class index], ...]}'
    return read_records(folder / "boxes.json", "boxes", form, _true_boxes)


def _true_boxes(record: Mapping[str, Any]) -> TrueBoxes:
    rows = np.asarray(record["boxes"], np.float32).reshape(-1, 5)
    return TrueBoxes(rows[:, :4], rows[:, 4].astype(np.int64))


def _predict(
    outputs: Outputs, batch: Batch, labels: Sequence[str], threshold: float
) -> list[Detections]:
    logits, boxes = outputs["logits"], outputs["pred_boxes"]
    return detect(logits, boxes, batch.frame_sizes, labels, threshold, batch.regions)


def _comparable(answer: Answer, labels: Sequence[str]) -> Detections:
    logits, boxes = answer.outputs["logits"], answer.outputs["pred_boxes"]
    return detect(logits, boxes, [answer.frame_size], labels, _LEAST_SCORE, answer.regions)[0]


TASK = Task(
    outputs=("logits", "pred_boxes"),
    predict=_predict,
    comparable=_comparable,
    decisions=lambda outputs: outputs["logits"].argmax(-1),
    read_truths=read_boxes,
    drift=Drift(METRICS, estimate),
)
