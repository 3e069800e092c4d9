"""Several figures a frame: where each is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from runtime.tasks.detection import TrueBoxes
from shapes.datasets.dataset import Dataset, Rendered, write_records
from shapes.scene import Annotated, several

_STREAM = 1


def detection_image(seed: int, index: int) -> Annotated:
    """Renders image `index` of the detection set `seed`: a ragged frame with exact boxes."""
    return several(np.random.default_rng((seed, _STREAM, index)))


def detection(seed: int, n: int) -> Iterator[Annotated]:
    """Yields the first `n` annotated frames of the detection set `seed`."""
    return (detection_image(seed, index) for index in range(n))


def _image(seed: int, index: int) -> Rendered:
    scene = detection_image(seed, index)
    return Rendered(scene.frame, TrueBoxes(scene.boxes, scene.labels))


def _write(folder: Path, truths: Mapping[str, Any]) -> None:
    """Writes boxes.json: [{"file": ..., "boxes": [[x1, y1, x2, y2, label], ...]}, ...]."""
    records = []
    for file, truth in truths.items():
        pairs = zip(truth.boxes, truth.indices, strict=True)
        boxes = [[*map(int, box), int(label)] for box, label in pairs]
        records.append({"file": file, "boxes": boxes})
    write_records(folder / "boxes.json", records)


DATASET = Dataset(_image, _write)
