"""Instances: a set of classes, boxes and small masks to the things that a frame shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.batch import Batch
from runtime.drift.instances import METRICS, estimate
from runtime.geometry import Size
from runtime.tasks.cutouts import Cutout, paste
from runtime.tasks.places import beyond_frames, boxed_entries
from runtime.tasks.run_lengths import from_runs, to_runs
from runtime.tasks.scores import check_labels
from runtime.tasks.task import Answer, Corners, Drift, Entry, Outputs, Prediction, Task
from runtime.tasks.truths import read_records

# As of detections: weaker ones change no average precision worth naming.
_LEAST_SCORE = 0.05


@dataclasses.dataclass(frozen=True)
class TrueInstances:
    """The true instances of one image, in the form in which instances are compared.

    Attributes:
        masks: M of the image.
        indices: int64 (M,), class indices.
    """

    masks: tuple[Cutout, ...]
    indices: npt.NDArray[np.int64]

    @property
    def boxes(self) -> npt.NDArray[np.float32]:
        """The bounds of the masks, float32 (M, 4): left, top, right, bottom in pixels."""
        return np.array([mask.bounds for mask in self.masks], np.float32).reshape(-1, 4)

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """Ones: the truth is certain."""
        return np.ones(len(self.masks), np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Instances(Prediction):
    """The things that a frame shows, the surest first.

    Attributes:
        places: float32 (M, 4): left, top, right, bottom in pixels of the frame, which they may
            exceed.
        scores: float32 (M,), in 0..1.
        labels: M class names.
        indices: int64 (M,), class indices.
        logits: (M, m, m), of the masks within the places.
        frame_size: (height, width) of the frame in pixels.
    """

    places: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: tuple[str, ...]
    indices: npt.NDArray[np.int64]
    logits: npt.NDArray[Any]
    frame_size: Size

    def __len__(self) -> int:
        """How many were found."""
        return len(self.scores)

    @cached_property
    def boxes(self) -> npt.NDArray[np.float32]:
        """What the frame shows of the places, float32 (M, 4)."""
        height, width = self.frame_size
        return np.clip(self.places, 0, np.array([width, height] * 2, np.float32))

    @cached_property
    def masks(self) -> tuple[Cutout, ...]:
        """The pixels of each, made when first asked for; `masks[i].on(frame_size)` is (H, W)."""
        pairs = zip(self.logits, self.places, strict=True)
        return tuple(paste(logits, place, self.frame_size) for logits, place in pairs)

    def entries(self) -> list[Entry]:
        """Every instance with its box."""
        return boxed_entries(self.labels, self.scores, self.boxes)

    def as_json(self) -> dict[str, Any]:
        """Every instance; boxes are left, top, right, bottom in pixels, masks as in COCO's RLE."""
        return {
            "instances": [
                {
                    "label": entry.label,
                    "score": entry.score,
                    "box": list(entry.box or ()),
                    "mask": {
                        "size": list(self.frame_size),
                        "counts": to_runs(mask.on(self.frame_size)),
                    },
                }
                for entry, mask in zip(self.entries(), self.masks, strict=True)
            ]
        }

    def picture(self) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
        """Grey (H, W): i + 1 where instance i is, 0 where none is; the surest are in front."""
        numbers = np.zeros(self.frame_size, np.uint8 if len(self) < 256 else np.uint16)
        for index in reversed(range(len(self))):
            pixels, left, top = self.masks[index]
            window = numbers[top : top + pixels.shape[0], left : left + pixels.shape[1]]
            window[pixels] = index + 1
        return numbers


def find(
    outputs: Outputs,
    frame_sizes: Sequence[Size],
    labels: Sequence[str],
    regions: Sequence[Corners],
    threshold: float = 0.5,
) -> list[Instances]:
    """A model's outputs to the instances of each frame.

    Each query is one instance at most, of its best class; nothing is suppressed, as a set of
    predictions holds each thing once.

    Args:
        outputs: `logits` (N, Q, classes), of independent classes; `boxes` (N, Q, 4), left, top,
            right, bottom in 0..1 of the image; `masks` (N, Q, m, m), logits of the boxes' pixels.
        frame_sizes: (height, width) in pixels of each original frame.
        labels: one name per class.
        regions: what each frame covers of its image, as `runtime.batch.Batch` has them.
        threshold: the least score of an instance that is kept; one that is not finite is not.

    Raises:
        EngineError: the labels are not one per class.
    """
    check_labels(labels, outputs["logits"].shape[-1])
    every = _scores(outputs)
    indices, scores = every.argmax(-1), every.max(-1)
    corners = np.asarray(outputs["boxes"], np.float32).reshape(len(scores), -1, 2)
    with np.errstate(invalid="ignore", over="ignore"):
        places = beyond_frames(corners, frame_sizes, regions).reshape(*scores.shape, 4)
    found = []
    for n, size in enumerate(frame_sizes):
        order = np.argsort(-scores[n], kind="stable")
        order = order[scores[n, order] >= threshold]
        kept = indices[n, order]
        found.append(
            Instances(
                places=places[n, order],
                scores=scores[n, order],
                labels=tuple(labels[i] for i in kept.tolist()),
                indices=kept,
                logits=outputs["masks"][n, order],
                frame_size=size,
            )
        )
    return found


def _scores(outputs: Outputs) -> npt.NDArray[np.float32]:
    """Probabilities of each class, (N, Q, classes); below 0 where an output is not finite."""
    logits = np.asarray(outputs["logits"], np.float32)
    shape = (*logits.shape[:2], -1)
    values = [logits, outputs["boxes"], outputs["masks"].reshape(shape)]
    sound = np.all([np.isfinite(value).all(-1) for value in values], axis=0)
    with np.errstate(over="ignore"):  # exp of a low logit: 1 / inf is 0
        scores = 1 / (1 + np.exp(-logits))
    return np.where(sound[..., None], scores, np.float32(-1))


def read_instances(folder: Path) -> dict[str, Any]:
    """`TrueInstances` by file name from a folder's `instances.json`; empty where there is none.

    It is a list of `{"file": name, "instances": [{"label": class index, "size": [height, width],
    "counts": [...]}, ...]}`, with masks in COCO's run lengths (see `runtime.tasks.run_lengths`).

    Raises:
        EngineError: it holds something else.
    """
    form = '{"file": name, "instances": [{"label": index, "size": [H, W], "counts": [...]}, ...]}'
    return read_records(folder / "instances.json", "instances", form, _true_instances)


def _true_instances(record: Mapping[str, Any]) -> TrueInstances:
    masks, indices = [], []
    for item in record["instances"]:
        height, width = item["size"]
        masks.append(Cutout.of(from_runs(item["counts"], (height, width))))
        indices.append(item["label"])
    return TrueInstances(tuple(masks), np.array(indices, np.int64))


def _predict(
    outputs: Outputs, batch: Batch, labels: Sequence[str], threshold: float
) -> list[Instances]:
    return find(outputs, batch.frame_sizes, labels, batch.regions, threshold)


def _comparable(answer: Answer, labels: Sequence[str]) -> Instances:
    return find(answer.outputs, [answer.frame_size], labels, answer.regions, _LEAST_SCORE)[0]


def _decisions(outputs: Outputs) -> npt.NDArray[np.int64]:
    """The class of each query, and one more for those that have found nothing."""
    logits = np.asarray(outputs["logits"], np.float32)
    # A score of 0.5 is a logit of 0.
    nothing = logits.shape[-1]
    return np.asarray(np.where(logits.max(-1) >= 0, logits.argmax(-1), nothing))


TASK = Task(
    outputs=("logits", "boxes", "masks"),
    predict=_predict,
    comparable=_comparable,
    decisions=_decisions,
    read_truths=read_instances,
    drift=Drift(METRICS, estimate),
)
