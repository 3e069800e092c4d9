"""One figure a frame: which it is."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shapes.datasets.dataset import Dataset, Rendered
from shapes.figures import NAMES
from shapes.scene import Portrait, single

_STREAM = 0  # separate random streams, so that the data sets share no image


def classification_image(seed: int, index: int) -> Portrait:
    """Renders image `index` of the classification set `seed`, with its figure's mask."""
    return single(np.random.default_rng((seed, _STREAM, index)))


def classification(seed: int, n: int) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Yields the first `n` images, uint8 (64, 64, 3) RGB, and labels of the set `seed`."""
    return (classification_image(seed, index)[:2] for index in range(n))


def write_labels(folder: Path, truths: Mapping[str, Any], names: Sequence[str] = NAMES) -> None:
    """Writes labels.csv: file, label, name."""
    with (folder / "labels.csv").open("w", newline="") as table:
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(("file", "label", "name"))
        rows.writerows((file, label, names[label]) for file, label in truths.items())


DATASET = Dataset(
    lambda seed, index: Rendered(*classification_image(seed, index)[:2]), write_labels
)
