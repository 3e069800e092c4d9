"""Restoration: tiles that a model has restored to the image of the whole frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.batch import Batch
from runtime.drift.restoration import METRICS, WHITE, estimate
from runtime.images import IMAGE_SUFFIXES, read_image
from runtime.pixels import Frame
from runtime.tasks.task import Answer, Drift, Entry, Outputs, Prediction, Task, answers_of
from runtime.tiles import stitch

CLEAN = "clean"
"""The folder, beside degraded images, that holds the clean ones under the same names."""
# What an image decides is taken to be the brightness of each of its blocks: neighbouring pixels err
# alike, so that all of them together would seem to prove more than they do.
_BLOCKS = 8  # a side of an image
_BRIGHTNESSES = 16  # from black to white


@dataclasses.dataclass(frozen=True, eq=False)
class Restoration(Prediction):
    """What a frame would have been.

    Attributes:
        image: uint8 (H, W, 3) RGB, of the frame's size or a multiple of it.
    """

    image: Frame

    def entries(self) -> list[Entry]:
        """Nothing: it is an image."""
        return []

    def remark(self) -> str:
        """What was done."""
        return "restored"

    def as_json(self) -> dict[str, Any]:
        """The size in pixels."""
        height, width = self.image.shape[:2]
        return {"height": height, "width": width}

    def picture(self) -> Frame:
        """The image."""
        return self.image


def grey_levels(answer: Answer) -> npt.NDArray[np.float32]:
    """The restored image (H, W, 3) of a frame, in 0..255 but for what exceeds black or white."""
    return stitch(answer.outputs["restored"], answer.regions) * np.float32(WHITE)


def read_clean(folder: Path) -> dict[str, Any]:
    """Clean images, uint8 (H, W, 3), by the name of the degraded one; empty without `clean/`.

    They are `clean/NAME.png`, or of another format that can be read, for an image NAME.

    Raises:
        EngineError: one that cannot be read.
    """
    if not (folder / CLEAN).is_dir():
        return {}
    files = {
        path.stem: path
        for path in sorted((folder / CLEAN).iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES
    }
    names = [path for path in folder.iterdir() if path.stem in files and path.is_file()]
    return {path.name: read_image(files[path.stem]) for path in names}


def _predict(
    outputs: Outputs, batch: Batch, labels: Sequence[str], threshold: float
) -> list[Restoration]:
    images = (grey_levels(answer) for answer in answers_of(outputs, batch))
    return [Restoration(np.rint(np.clip(image, 0, WHITE)).astype(np.uint8)) for image in images]


def _decisions(outputs: Outputs) -> npt.NDArray[np.int64]:
    """How bright each of 8 x 8 blocks of an image is, in each colour."""
    image = np.nan_to_num(outputs["restored"]).astype(np.float32).clip(0, 1)
    side = image.shape[-1] // _BLOCKS
    blocks = image[:, : _BLOCKS * side, : _BLOCKS * side].reshape(-1, _BLOCKS, side, _BLOCKS, side)
    return np.asarray(blocks.mean((2, 4)) * (_BRIGHTNESSES - 1) + 0.5, np.int64).ravel()


TASK = Task(
    outputs=("restored",),
    predict=_predict,
    comparable=lambda answer, labels: grey_levels(answer),
    decisions=_decisions,
    read_truths=read_clean,
    drift=Drift(METRICS, estimate),
)
