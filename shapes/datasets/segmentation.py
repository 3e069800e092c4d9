"""A few figures a frame: which pixels show what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from runtime.tasks.segmentation import MASKS
from shapes.datasets.dataset import Dataset, Rendered
from shapes.figures import DETECTION_NAMES
from shapes.scene import Group, few

_STREAM = 2
SEGMENTATION_NAMES = ("background", *DETECTION_NAMES)
"""Class names of the segmentation task; a pixel's value is an index into this tuple."""


def segmentation_image(seed: int, index: int) -> Group:
    """Renders image `index` of the segmentation set `seed`, with the class of each pixel."""
    return few(np.random.default_rng((seed, _STREAM, index)))


def _write(folder: Path, truths: Mapping[str, Any]) -> None:
    """Writes masks/NAME.png: a grey PNG of class indices for each file."""
    masks = folder / MASKS
    masks.mkdir(exist_ok=True)
    for file, classes in truths.items():
        Image.fromarray(classes).save(masks / Path(file).with_suffix(".png").name)


DATASET = Dataset(lambda seed, index: Rendered(*segmentation_image(seed, index)), _write)
