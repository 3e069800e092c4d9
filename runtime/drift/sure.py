"""Detections of a reference that are sure enough to stand for the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from runtime.drift.matching import Boxes
from runtime.drift.metric import check_finite

REFERENCE_SCORE = 0.5
"""What a reference detects with at least this score is what the engine has to find."""


def sure(found: Boxes) -> npt.NDArray[np.int64]:
    """Which detections of an image they are."""
    return np.flatnonzero(np.asarray(found.scores) >= REFERENCE_SCORE)


def check_reference(reference: Sequence[Boxes]) -> None:
    """Refuses detections that are not finite, as `check_finite` does."""
    for name in ("boxes", "scores"):
        values = [np.ravel(getattr(found, name)).sum(keepdims=True) for found in reference]
        check_finite(f"reference {name}", np.stack(values))
