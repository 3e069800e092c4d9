"""Segmentation: logits of a small map to the class of every pixel of a frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.batch import Batch
from runtime.drift.segmentation import METRICS, estimate, no_class
from runtime.errors import EngineError
from runtime.geometry import Size
from runtime.images import IMAGE_SUFFIXES, decoded
from runtime.tasks.class_maps import ClassMap, class_map
from runtime.tasks.scores import check_labels
from runtime.tasks.task import Answer, Corners, Drift, Entry, Outputs, Prediction, Task

MASKS = "masks"
"""The folder, beside labelled images, that holds their class maps."""


@dataclasses.dataclass(frozen=True, eq=False)
class Segmentation(Prediction):
    """What each pixel of a frame shows.

    Attributes:
        class_map: uint8 (uint16 of more than 255 classes), (H, W) of the frame: class indices.
        labels: a name for each index.
    """

    class_map: ClassMap
    labels: tuple[str, ...]

    @cached_property
    def shares(self) -> npt.NDArray[np.float64]:
        """The share of the frame that each class covers, (classes,), in sum 1."""
        return np.bincount(self.class_map.ravel(), minlength=len(self.labels)) / self.class_map.size

    def entries(self) -> list[Entry]:
        """The classes that the frame shows, the largest first; the score is the share."""
        order = np.argsort(-self.shares, kind="stable")
        return [Entry(self.labels[i], float(self.shares[i])) for i in order if self.shares[i]]

    def as_json(self) -> dict[str, Any]:
        """Classes with their shares, and the map as runs of equal pixels.

        `runs` are pairs of class index and length in pixels, row after row from the top left; a
        run may go on in the next row. Their lengths add up to height times width.
        """
        flat = self.class_map.ravel()
        starts = np.flatnonzero(np.diff(flat, prepend=flat[:1] + 1))
        lengths = np.diff(starts, append=flat.size)
        return {
            "height": self.class_map.shape[0],
            "width": self.class_map.shape[1],
            "classes": [
                {"label": label, "index": self.labels.index(label), "share": share}
                for label, share, _ in self.entries()
            ],
            "runs": np.stack([flat[starts].astype(np.int64), lengths], axis=1).tolist(),
        }

    def picture(self) -> ClassMap:
        """The class map."""
        return self.class_map


def segment(
    logits: npt.NDArray[Any],
    frame_sizes: Sequence[Size],
    labels: Sequence[str],
    regions: Sequence[Corners],
) -> list[Segmentation]:
    """Logits (N, classes, h, w) to the classes of each frame's pixels.

    Args:
        logits: of a map that covers the image.
        frame_sizes: (height, width) in pixels of each original frame.
        labels: one name per class.
        regions: what each frame covers of its image, as `runtime.batch.Batch` has them.

    Raises:
        EngineError: the labels are not one per class.
    """
    check_labels(labels, logits.shape[1])
    frames = zip(logits, frame_sizes, regions, strict=True)
    return [Segmentation(class_map(*frame), tuple(labels)) for frame in frames]


def read_masks(folder: Path) -> dict[str, Any]:
    """Class maps by image file name, from `masks/NAME.png` for an image NAME; empty without it.

    A mask holds class indices as grey levels or palette indices, in the frame's size; 255 (65535
    in one of 16 bits) marks pixels that do not count.

    Raises:
        EngineError: a mask that cannot be read, or that holds colours.
    """
    masks = folder / MASKS
    if not masks.is_dir():
        return {}
    images = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    pairs = [(path.name, masks / f"{path.stem}.png") for path in images]
    return {name: _read_mask(mask) for name, mask in pairs if mask.is_file()}


def _read_mask(path: Path) -> npt.NDArray[Any]:
    mode, classes = decoded(path, lambda image: (image.mode, np.asarray(image)))
    if mode not in ("L", "P") and not mode.startswith("I"):
        raise EngineError(
            f"{path} holds {mode} pixels, expected class indices; save it as a grey PNG"
        )
    return classes if classes.dtype == np.uint8 else classes.astype(np.uint16)


def _comparable(answer: Answer, labels: Sequence[str]) -> ClassMap:
    logits = answer.outputs["logits"][0]
    found = class_map(logits, answer.frame_size, answer.regions[0])
    if not np.isfinite(logits).all():
        found[...] = no_class(found)
    return found


def _predict(
    outputs: Outputs, batch: Batch, labels: Sequence[str], threshold: float
) -> list[Segmentation]:
    return segment(outputs["logits"], batch.frame_sizes, labels, batch.regions)


TASK = Task(
    outputs=("logits",),
    predict=_predict,
    comparable=_comparable,
    decisions=lambda outputs: outputs["logits"].argmax(0).ravel(),
    read_truths=read_masks,
    drift=Drift(METRICS, estimate),
)
