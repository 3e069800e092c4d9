"""Classification: logits to the most probable classes of a frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.drift.classification import METRICS, estimate
from runtime.images import read_labels
from runtime.tasks.scores import check_labels, softmax
from runtime.tasks.task import Drift, Entry, Prediction, Task

_TOP = 5
_SHOWN = 3


class Guess(NamedTuple):
    """One class and its probability in 0..1."""

    label: str
    class_index: int
    probability: float


@dataclasses.dataclass(frozen=True)
class Classification(Prediction):
    """The five most probable classes of one frame, the most probable first."""

    top: tuple[Guess, ...]

    def entries(self) -> list[Entry]:
        """The three best classes."""
        return [Entry(guess.label, guess.probability) for guess in self.top[:_SHOWN]]

    def as_json(self) -> dict[str, Any]:
        """All five."""
        return {"top": [guess._asdict() for guess in self.top]}


def classify(logits: npt.NDArray[Any], labels: Sequence[str]) -> list[Classification]:
    """Logits (N, classes) to the five most probable classes of each frame.

    Raises:
        EngineError: the labels are not one per class.
    """
    check_labels(labels, logits.shape[-1])
    probabilities = softmax(logits)
    # Stable, so that equal probabilities keep the order of their classes.
    best = np.argsort(-probabilities, axis=-1, kind="stable")[:, :_TOP]
    return [
        Classification(tuple(Guess(labels[i], int(i), float(row[i])) for i in indices))
        for row, indices in zip(probabilities, best, strict=True)
    ]


def _truths(folder: Path) -> dict[str, Any]:
    """Class indices of `labels.csv`."""
    file = folder / "labels.csv"
    return dict(read_labels(file)) if file.is_file() else {}


TASK = Task(
    outputs=("logits",),
    predict=lambda outputs, batch, labels, threshold: classify(outputs["logits"], labels),
    comparable=lambda answer, labels: answer.outputs["logits"][0],
    decisions=lambda outputs: np.atleast_1d(outputs["logits"].argmax(-1)),
    read_truths=_truths,
    drift=Drift(METRICS, estimate),
)
