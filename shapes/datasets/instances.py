"""Up to three figures a frame: which pixels are of which."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from runtime.tasks.cutouts import Cutout
from runtime.tasks.instances import TrueInstances
from runtime.tasks.run_lengths import to_runs
from shapes.datasets.dataset import Dataset, Rendered, write_records
from shapes.scene import FRAME_SIDE, Cast, cast

_STREAM = 5


def instance_image(seed: int, index: int) -> Cast:
    """Renders image `index` of the instance set `seed`, with the mask of each figure."""
    return cast(np.random.default_rng((seed, _STREAM, index)))


def truth_of(image: Cast) -> TrueInstances:
    """Its figures, in the form in which they are compared."""
    return TrueInstances(tuple(Cutout.of(mask) for mask in image.masks), image.labels)


def _image(seed: int, index: int) -> Rendered:
    image = instance_image(seed, index)
    return Rendered(image.frame, truth_of(image))


def _write(folder: Path, truths: Mapping[str, Any]) -> None:
    """Writes instances.json, with masks in run lengths; see `runtime.tasks.instances`."""
    size = FRAME_SIDE, FRAME_SIDE
    records = []
    for file, truth in truths.items():
        pairs = zip(truth.indices.tolist(), truth.masks, strict=True)
        items = [
            {"label": label, "size": size, "counts": to_runs(mask.on(size))}
            for label, mask in pairs
        ]
        records.append({"file": file, "instances": items})
    write_records(folder / "instances.json", records)


DATASET = Dataset(_image, _write)
