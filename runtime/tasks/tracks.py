"""What tracking says of a frame, and of a clip."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.tasks.places import boxed_entries, corners_of, in_frames
from runtime.tasks.scores import check_labels, softmax
from runtime.tasks.task import Corners, Entry, Outputs, Prediction


@dataclasses.dataclass(frozen=True, eq=False)
class Tracks(Prediction):
    """The objects of one frame, in the order of their ids.

    Attributes:
        ids: int64 (M,), the same for an object in every frame of a video.
        boxes: float32 (M, 4): left, top, right, bottom in pixels of the original frame.
        scores: float32 (M,), probabilities in 0..1.
        labels: M class names.
        indices: int64 (M,), class indices.
    """

    ids: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: tuple[str, ...]
    indices: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """How many objects the frame shows."""
        return len(self.ids)

    def entries(self) -> list[Entry]:
        """Every object with its box; the label has its id too."""
        names = [f"{label} {n}" for n, label in zip(self.ids.tolist(), self.labels, strict=True)]
        return boxed_entries(names, self.scores, self.boxes)

    def as_json(self) -> dict[str, Any]:
        """Every object; boxes are left, top, right, bottom in pixels."""
        columns = (self.ids.tolist(), self.labels, self.scores.tolist(), self.boxes.tolist())
        names = ("id", "label", "score", "box")
        return {
            "tracks": [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        }


@dataclasses.dataclass(frozen=True, eq=False)
class ClipTracks(Prediction):
    """The objects of a clip.

    Attributes:
        frames: what each of them shows.
    """

    frames: tuple[Tracks, ...]

    def entries(self) -> list[Entry]:
        """Every track, the longest first: its usual label, in how many frames, its mean score."""
        ids = np.concatenate([frame.ids for frame in self.frames])
        scores = np.concatenate([frame.scores for frame in self.frames])
        labels = np.array([label for frame in self.frames for label in frame.labels], str)
        found = []
        for number, count in zip(*np.unique(ids, return_counts=True), strict=True):
            names, often = np.unique(labels[ids == number], return_counts=True)
            label = f"{names[often.argmax()]} {number} in {count} frames"
            found.append((-count, Entry(label, float(scores[ids == number].mean()))))
        return [entry for _, entry in sorted(found, key=lambda pair: int(pair[0]))]

    def as_json(self) -> dict[str, Any]:
        """The tracks of each frame."""
        return {"frames": [frame.as_json()["tracks"] for frame in self.frames]}


def tracks_of(
    outputs: Outputs,
    ids: npt.NDArray[np.int64],
    frame_size: tuple[int, int],
    region: Corners,
    labels: Sequence[str],
) -> Tracks:
    """What one frame shows.

    Args:
        outputs: of the frame alone, `logits` (M, C + 1) and `pred_boxes` (M, 4).
        ids: int64 (M,), of which those below 0 are no tracks.
        frame_size: (height, width) of the frame in pixels.
        region: what it covers of its image; see `runtime.batch.Prepared`.
        labels: one name per class.

    Raises:
        EngineError: the labels are not one per class.
    """
    check_labels(labels, outputs["logits"].shape[-1] - 1)
    order = np.argsort(ids, kind="stable")[np.count_nonzero(ids < 0) :]
    probabilities = softmax(outputs["logits"][order])[:, :-1]
    indices = probabilities.argmax(axis=-1)
    corners = corners_of(outputs["pred_boxes"][order]).reshape(1, -1, 2)
    return Tracks(
        ids[order],
        in_frames(corners, [frame_size], [region]).reshape(-1, 4),
        probabilities.max(axis=-1),
        tuple(labels[index] for index in indices.tolist()),
        indices,
    )
