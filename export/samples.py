"""The images of a build: a folder's or rendered ones, split into calibration and held out."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.item_files import item_files, read_item
from export.spec import Calibration
from runtime import EngineError
from runtime.items import to_arrays
from runtime.preprocess import Frame
from runtime.tasks import find_task

# The held-out render has another seed, so that it shares no image with calibration.
_HELD_OUT_SEED = 1_000_003


@dataclass(frozen=True)
class Sample:
    """One item, decoded when asked for, so that a build's memory does not grow with the set.

    Attributes:
        name: of the file, or of the rendered image.
        read: decodes, renders or makes it: a frame, uint8 (H, W, 3) RGB, or what else the model
            takes (`runtime.items`).
        label: the truth about it, in the form of its task; None where it is not known.
    """

    name: str
    read: Callable[[], Any]
    label: Any = None


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
    settings: Calibration,
    folder: Path | None,
    images: int,
    seed: int,
    task: str,
    kind: str = "frames",
) -> Split:
    """Chooses the images of a build.

    Args:
        settings: the model's record.
        folder: of images, with the task's file of truths where there are any; None takes the
            record's rendered set.
        images: for calibration.
        seed: of the choice.
        task: whose truths are read; a file of another task's may be anybody's.
        kind: of items that the model takes; see `export.item_files`.

    Raises:
        EngineError: no folder and nothing to render, or a folder without usable images.
    """
    if folder is not None:
        return _from_folder(folder, images, settings.held_out, seed, task, kind)
    if settings.rendered is None:
        raise EngineError(
            "no images: this model has no rendered set, and drift and int8 ranges are measured on "
            "images; pass --calibration DIR"
        )
    chosen = list(itertools.islice(_rendered(settings.rendered, seed), images))
    held_out = list(
        itertools.islice(_rendered(settings.rendered, seed + _HELD_OUT_SEED), settings.held_out)
    )
    origin = f"shapes {settings.rendered}, seed {seed}"
    return Split(chosen, held_out, origin, _digest(chosen))


def _rendered(dataset: str, seed: int) -> Iterator[Sample]:
    from shapes.datasets import DATASETS

    for index in itertools.count():
        frame, truth = DATASETS[dataset].image(seed, index)
        yield Sample(f"{seed}/{index}", _Held(frame), truth)


@dataclass(frozen=True)
class _Held:
    """A rendered frame, small enough to keep."""

    frame: Frame

    def __call__(self) -> Frame:
        return self.frame


@dataclass(frozen=True)
class _File:
    path: Path

    def __call__(self) -> Any:
        return read_item(self.path)


def _from_folder(
    folder: Path, images: int, held_out: int, seed: int, task: str, kind: str
) -> Split:
    labels = find_task(task).read_truths(folder)
    paths = list(item_files(folder, kind))
    random.Random(seed).shuffle(paths)
    good: list[Sample] = []
    skipped: dict[str, str] = {}
    for path in paths:
        if len(good) == images + held_out:
            break
        try:
            read_item(path)
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


def _digest(samples: Sequence[Sample]) -> str:
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(sample.name.encode())
        for array in to_arrays(sample.read()).values():
            digest.update(array.tobytes())
    return digest.hexdigest()
