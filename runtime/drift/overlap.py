"""How much boxes overlap."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def iou(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Intersection over union of boxes (A, 4) and (B, 4), x0 y0 x1 y1: (A, B); 0 without area."""
    a, b = left.astype(np.float64)[:, None], right.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.clip(sides, 0, None).prod(-1)
    areas = [np.clip(box[..., 2:] - box[..., :2], 0, None).prod(-1) for box in (a, b)]
    union = areas[0] + areas[1] - shared
    overlap: npt.NDArray[np.float64] = np.where(
        union > 0, shared / np.where(union > 0, union, 1), 0.0
    )
    return overlap


def sound_iou(found: npt.NDArray[Any], truth: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The same, but a found box that is not finite overlaps nothing."""
    sound = np.isfinite(found).all(1, keepdims=True)
    return iou(np.where(sound, found, 0.0), truth)
