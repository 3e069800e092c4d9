"""Masks as run lengths, in COCO's form: https://cocodataset.org/#format-data (RLE, uncompressed).

Pixels are counted down the columns; the first run is of pixels outside the mask, and may be 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.geometry import Size


def to_runs(mask: npt.NDArray[np.bool_]) -> list[int]:
    """The lengths of a mask's runs, (H, W)."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(np.diff(flat))
    runs: list[int] = np.diff(changes, prepend=0, append=mask.size).tolist()
    return runs


def from_runs(runs: Sequence[Any], size: Size) -> npt.NDArray[np.bool_]:
    """The inverse of `to_runs`, of a mask of `size`.

    Raises:
        ValueError: the runs are not of that many pixels.
    """
    lengths = np.asarray(runs, np.int64)
    if lengths.ndim != 1 or (lengths < 0).any() or lengths.sum() != size[0] * size[1]:
        raise ValueError(f"runs that are not of {size[0]} x {size[1]} pixels")
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(size, order="F")
