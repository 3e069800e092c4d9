"""The images of a build: a folder's or rendered ones, split into calibration and held out."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.spec import Calibration
from runtime import EngineError
from runtime.errors import one_line
from runtime.images import ImageSet, read_image, read_labels
from runtime.preprocess import Frame

# The held-out render has another seed, so that it shares no image with calibration.
_HELD_OUT_SEED = 1_000_003


@dataclass(frozen=True)
class Truth:
    """Ground-truth boxes of one image, in the form in which detections are compared."""

    boxes: npt.NDArray[np.float32]
    indices: npt.NDArray[np.int64]

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """Ones: the truth is certain."""
        return np.ones(len(self.indices), np.float32)


@dataclass(frozen=True)
class Sample:
    """One image, decoded when asked for, so that a build's memory does not grow with the set.

    Attributes:
        name: of the file, or of the rendered image.
        read: decodes or renders it: uint8 (H, W, 3) RGB.
        label: class index or `Truth`; None where there is none.
    """

    name: str
    read: Callable[[], Frame]
    label: int | Truth | None = None


@dataclass(frozen=True)
class Split:
    """The images of a build.

    Attributes:
        calibration: on which everything is chosen.
        held_out: on which drift is measured; the calibration images where there are no others.
        origin: the folder, or which render.
        digest: sha256 over names and pixels of the calibration images.
        skipped: files that could not be decoded, with the reason.
        disjoint: whether the held-out images are others than the calibration images.
    """

    calibration: Sequence[Sample]
    held_out: Sequence[Sample]
    origin: str
    digest: str
    skipped: dict[str, str] = field(default_factory=dict)
    disjoint: bool = True


def split(
    settings: Calibration, folder: Path | None, images: int, seed: int, task: str | None = None
) -> Split:
    """Chooses the images of a build.

    Args:
        settings: the model's record.
        folder: of images, with `labels.csv` (file, class index) where there are labels; None
            takes the record's rendered set.
        images: for calibration.
        seed: of the choice.
        task: whose labels are read; None reads whatever labels there are.

    Raises:
        EngineError: no folder and nothing to render, or a folder without usable images.
    """
    if folder is not None:
        return _from_folder(folder, images, settings.held_out, seed, task)
    if settings.rendered is None:
        raise EngineError(
            "no images: this model has no rendered set, and drift and int8 ranges are measured on "
            "images; pass --calibration DIR"
        )
    chosen = list(islice(_rendered(settings.rendered, seed), images))
    held_out = list(islice(_rendered(settings.rendered, seed + _HELD_OUT_SEED), settings.held_out))
    origin = f"shapes {settings.rendered}, seed {seed}"
    return Split(chosen, held_out, origin, _digest(chosen))


def _rendered(task: str, seed: int) -> Iterator[Sample]:
    from shapes import datasets

    index = 0
    while True:
        if task == "classification":
            portrait = datasets.classification_image(seed, index)
            yield Sample(f"{seed}/{index}", _Held(portrait.frame), portrait.label)
        else:
            scene = datasets.detection_image(seed, index)
            truth = Truth(scene.boxes, scene.labels)
            yield Sample(f"{seed}/{index}", _Held(scene.frame), truth)
        index += 1


@dataclass(frozen=True)
class _Held:
    """A rendered frame, small enough to keep."""

    frame: Frame

    def __call__(self) -> Frame:
        return self.frame


@dataclass(frozen=True)
class _File:
    path: Path

    def __call__(self) -> Frame:
        return read_image(self.path)


def _from_folder(folder: Path, images: int, held_out: int, seed: int, task: str | None) -> Split:
    labels = read_folder_labels(folder, task)
    files = ImageSet(folder)
    paths = list(files.paths)
    random.Random(seed).shuffle(paths)
    good: list[Sample] = []
    skipped: dict[str, str] = {}
    for path in paths:
        if len(good) == images + held_out:
            break
        try:
            read_image(path)
        except EngineError as error:
            skipped[path.name] = str(error)
            continue
        good.append(Sample(path.name, _File(path), labels.get(path.name)))
    if not good:
        raise EngineError(
            f"none of the {len(paths)} images of {folder} could be decoded, the first because: "
            f"{next(iter(skipped.values()))}"
        )
    chosen, rest = good[:images], good[images:]
    return Split(chosen, rest or chosen, str(folder), _digest(chosen), skipped, disjoint=bool(rest))


def read_folder_labels(folder: Path, task: str | None = None) -> dict[str, Any]:
    """Labels by file name from `labels.csv` or `boxes.json` of a folder; empty where neither is.

    Of a "classification" only `labels.csv` is looked at, of a "detection" only `boxes.json`: the
    other may be anybody's. `boxes.json` is a list of
    `{"file": name, "boxes": [[x1, y1, x2, y2, class index], ...]}`.
    """
    if task != "detection" and (folder / "labels.csv").is_file():
        return dict(read_labels(folder / "labels.csv"))
    if task == "classification" or not (folder / "boxes.json").is_file():
        return {}
    try:
        records = json.loads((folder / "boxes.json").read_text(encoding="utf-8"))
        found = {}
        for record in records:
            rows = np.asarray(record["boxes"], np.float32).reshape(-1, 5)
            found[str(record["file"])] = Truth(rows[:, :4], rows[:, 4].astype(np.int64))
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"{folder / 'boxes.json'} does not hold boxes ({one_line(error)}); "
            'expected a list of {"file": name, "boxes": [[x1, y1, x2, y2, class index], ...]}'
        ) from error
    return found


def _digest(samples: Sequence[Sample]) -> str:
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(sample.name.encode())
        digest.update(sample.read().tobytes())
    return digest.hexdigest()
