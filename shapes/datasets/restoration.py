"""Degraded frames, and the clean scenes that they were."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from shapes.datasets.dataset import Dataset, Rendered
from shapes.scene import several

_STREAM = 4
KINDS = ("denoise30", "denoise50", "x2", "x3", "x4", "derain")
"""What there is to restore: Gaussian noise of that sigma, a resolution that many times as high, or
a view through rain."""
_STREAK_AREA = 80  # pixels of the frame for each streak of rain

Frame = NDArray[np.uint8]


def clean_scene(seed: int, index: int) -> Frame:
    """Renders scene `index` of the restoration sets `seed`, without the noise of a sensor."""
    return several(np.random.default_rng((seed, _STREAM, index)), noise=False).frame


def degraded(kind: str, clean: Frame, rng: np.random.Generator) -> Frame:
    """What a camera would have seen of a clean frame (H, W, 3).

    Args:
        kind: one of `KINDS`.
        clean: to be enlarged to, its sides must be multiples of the factor.
        rng: draws noise and rain.
    """
    if kind.startswith("denoise"):
        noise = rng.standard_normal(clean.shape, dtype=np.float32) * float(kind[7:])
        return _rounded(clean + noise)
    if kind == "derain":
        return _rounded(clean + _rain(rng, *clean.shape[:2])[..., None])
    factor = int(kind[1:])
    size = clean.shape[1] // factor, clean.shape[0] // factor
    return np.asarray(Image.fromarray(clean).resize(size, Image.Resampling.BICUBIC))


def pair(kind: str, seed: int, index: int) -> Rendered:
    """Image `index` of a restoration set: the degraded frame, and the clean one as its truth."""
    clean = clean_scene(seed, index)
    if kind.startswith("x"):
        height, width = (side - side % int(kind[1:]) for side in clean.shape[:2])
        clean = clean[:height, :width].copy()
    rng = np.random.default_rng((seed, _STREAM, index, KINDS.index(kind)))
    return Rendered(degraded(kind, clean, rng), clean)


def dataset(kind: str) -> Dataset:
    """The data set of one kind of degradation; those of all kinds show the same scenes."""
    return Dataset(lambda seed, index: pair(kind, seed, index), _write)


def _rain(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """Brightness (H, W), in grey levels, that streaks of one direction add."""
    layer = Image.new("L", (width, height))
    draw = ImageDraw.Draw(layer)
    slope = rng.uniform(-0.5, 0.5)
    for _ in range(height * width // _STREAK_AREA):
        x, y = rng.uniform(-0.1, 1.1, 2) * (width, height)
        length = rng.uniform(6, 16)
        draw.line((x, y, x + slope * length, y + length), fill=int(rng.integers(50, 130)))
    return np.asarray(layer, np.float32)


def _rounded(values: NDArray[np.float32]) -> Frame:
    return np.asarray(np.rint(values).clip(0, 255), np.uint8)


def _write(folder: Path, truths: Mapping[str, Any]) -> None:
    """Writes the clean images under clean/."""
    (folder / "clean").mkdir(exist_ok=True)
    for name, clean in truths.items():
        Image.fromarray(clean).save(folder / "clean" / name)
