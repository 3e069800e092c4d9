"""What tasks with classes share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import EngineError


def softmax(logits: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Logits (…, classes) to probabilities."""
    values = logits.astype(np.float32)
    # Shifting by the maximum leaves the result unchanged and keeps exp from overflowing.
    values = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(values / values.sum(axis=-1, keepdims=True))


def check_labels(labels: Sequence[str], classes: int) -> None:
    """`EngineError` unless there is one label for each class."""
    if len(labels) != classes:
        raise EngineError(
            f"found {len(labels)} labels for {classes} classes; build the bundle with one each"
        )
