"""Keypoints: heatmaps to one place for each named point of a figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.batch import Batch
from runtime.drift.keypoints import METRICS, Pose, estimate
from runtime.tasks.dependency import Dependency
from runtime.tasks.peaks import peaks
from runtime.tasks.places import in_frames
from runtime.tasks.scores import check_labels
from runtime.tasks.task import Answer, Corners, Drift, Entry, Outputs, Prediction, Task
from runtime.tasks.truths import read_records

STRIDE = 4
"""Pixels of the model's image from the centre of a heatmap's cell to the next one's."""

_MARK = 0.01  # of a frame's longer side: half the side of the box that marks a point


@dataclasses.dataclass(frozen=True, eq=False)
class Keypoints(Prediction):
    """The keypoints of one frame; there is a place for every name, however weak.

    Attributes:
        points: float32 (K, 2), x and y in pixels of the frame; pixel j spans j..j+1.
        scores: float32 (K,), the heights of the heatmaps, in 0..1.
        names: K names.
        threshold: the least score of a point that is taken for found.
        frame_size: (height, width) of the frame in pixels.
        dependency: what `attention` reads; None where the model does not give it.
    """

    points: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    names: tuple[str, ...]
    threshold: float
    frame_size: tuple[int, int]
    dependency: Dependency | None = None

    @property
    def found(self) -> npt.NDArray[np.bool_]:
        """Which of the points score enough, (K,)."""
        return np.asarray(self.scores >= self.threshold)

    def entries(self) -> list[Entry]:
        """The points that are found, each in a small box around it, in the order of the names."""
        reach = _MARK * max(self.frame_size)
        return [
            Entry(name, float(score), (x - reach, y - reach, x + reach, y + reach))
            for name, score, (x, y), found in zip(
                self.names, self.scores, self.points.tolist(), self.found, strict=True
            )
            if found
        ]

    def as_json(self) -> dict[str, Any]:
        """Every point, found or not; x and y in pixels."""
        rows = zip(self.names, self.scores.tolist(), self.points.tolist(), strict=True)
        return {"keypoints": [{"name": n, "score": s, "x": x, "y": y} for n, s, (x, y) in rows]}

    def attention(self, index: int) -> npt.NDArray[np.float32]:
        """What keypoint `index` depends on: where the model looked to place it.

        Row of the last encoder layer's attention at the token in which the heatmap is highest,
        averaged over heads (Yang et al. 2021, section 3.3).

        Returns:
            float32 (h, w), over the tokens of the model's image (which letterboxing may have
            given margins); its sum is 1.

        Raises:
            ValueError: the model gives no attention.
        """
        if self.dependency is None:
            raise ValueError(
                "this model gives no attention; it needs the outputs `queries` and `keys`"
            )
        return self.dependency.of(index)


def locate(
    heatmaps: npt.NDArray[Any],
    frame_sizes: Sequence[tuple[int, int]],
    regions: Sequence[Corners],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Heatmaps to places in the frames.

    Args:
        heatmaps: (N, K, H/4, W/4) of images H x W; cell c is centred on pixel 4c, as in the targets
            of Xiao et al. 2018 (arXiv:1804.06208) and of those who follow them.
        frame_sizes: (height, width) in pixels of each original frame.
        regions: left, top, right, bottom of each frame in 0..1 of its image.

    Returns:
        float32 (N, K, 2), x and y in pixels of the frame, and float32 (N, K), the scores in 0..1.
    """
    cells, scores = peaks(heatmaps)
    image = np.array(heatmaps.shape[:-3:-1])  # width and height, in cells
    places = (cells + 0.5 / STRIDE) / image
    return in_frames(places, frame_sizes, regions), np.clip(scores, 0, 1)


def read_points(folder: Path) -> dict[str, Any]:
    """True points, float32 (K, 2), by file name from `keypoints.json`; empty where there is none.

    It is a list of `{"file": name, "keypoints": [[x, y] or null, ...]}`, in pixels; a point that
    is null is not seen, and becomes NaN.

    Raises:
        EngineError: it holds something else.
    """
    form = '{"file": name, "keypoints": [[x, y] or null, ...]}'
    return read_records(folder / "keypoints.json", "keypoints", form, _true_points)


def _true_points(record: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    rows = [(np.nan, np.nan) if row is None else row for row in record["keypoints"]]
    return np.asarray(rows, np.float32).reshape(len(rows), 2)


def _predict(
    outputs: Outputs, batch: Batch, labels: Sequence[str], threshold: float
) -> list[Keypoints]:
    heatmaps = outputs["heatmaps"]
    check_labels(labels, heatmaps.shape[1])
    points, scores = locate(heatmaps, batch.frame_sizes, batch.regions)
    return [
        Keypoints(
            points=points[n],
            scores=scores[n],
            names=tuple(labels),
            threshold=threshold,
            frame_size=size,
            dependency=Dependency.at({name: found[n] for name, found in outputs.items()}),
        )
        for n, size in enumerate(batch.frame_sizes)
    ]


def _comparable(answer: Answer, labels: Sequence[str]) -> Pose:
    points, scores = locate(answer.outputs["heatmaps"], [answer.frame_size], answer.regions)
    return Pose(points[0], scores[0], answer.frame_size)


TASK = Task(
    outputs=("heatmaps",),
    predict=_predict,
    comparable=_comparable,
    decisions=lambda outputs: outputs["heatmaps"].reshape(len(outputs["heatmaps"]), -1).argmax(1),
    read_truths=read_points,
    drift=Drift(METRICS, estimate),
)
