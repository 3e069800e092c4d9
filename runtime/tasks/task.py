"""What a task is: from a model's outputs to predictions, and how far these have drifted."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.batch import Batch
from runtime.preparation import Preparation

if TYPE_CHECKING:
    from runtime.drift.metric import Estimator, Metric

Outputs = Mapping[str, npt.NDArray[Any]]
Corners = tuple[float, float, float, float]


MAIN = "main"
"""The name of a model's own graph beside those of its parts."""


class Entry(NamedTuple):
    """One thing that a prediction says of a frame.

    Attributes:
        label: for people.
        score: in 0..1.
        box: left, top, right, bottom in pixels of the frame, where it has a place.
    """

    label: str
    score: float
    box: Corners | None = None


class Prediction(abc.ABC):
    """What a model says of one frame."""

    @abc.abstractmethod
    def entries(self) -> list[Entry]:
        """What is found, the most important first."""

    @abc.abstractmethod
    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""

    def remark(self) -> str:
        """What people are told where there are no entries."""
        return "nothing found"

    def picture(self) -> npt.NDArray[Any] | None:
        """What is a picture itself: uint8 (H, W, 3) RGB, or grey uint8 or uint16 (H, W)."""
        return None


@dataclass(frozen=True)
class Answer:
    """A model's raw outputs for one frame.

    Attributes:
        outputs: by name, with the frame's images as first axis; these are one but for tiles.
        frame_size: (height, width) of the frame in pixels.
        regions: what it covers of each image; see `runtime.batch.Prepared`.
    """

    outputs: Outputs
    frame_size: tuple[int, int]
    regions: Sequence[Corners]


class Graph(NamedTuple):
    """A part of a model, in PyTorch or in an engine.

    Attributes:
        run: arrays by input name -> arrays by output name, both with a batch axis.
        preprocess: makes these inputs of items.
    """

    run: Callable[[Outputs], Outputs]
    preprocess: Preparation


def answers_of(outputs: Outputs, batch: Batch) -> list[Answer]:
    """What of a batch's outputs is each frame's."""
    found, start = [], 0
    for size, count in zip(batch.frame_sizes, batch.counts, strict=True):
        mine = slice(start, start + count)
        parts = {name: output[mine] for name, output in outputs.items()}
        found.append(Answer(parts, size, batch.regions[mine]))
        start += count
    return found


Whole = Callable[[Outputs, Batch], Outputs]


@dataclass(frozen=True)
class Drift:
    """How a task's answers are compared; see `runtime.drift.metric`."""

    metrics: Mapping[str, Metric]
    estimate: Estimator


@dataclass(frozen=True)
class Task:
    """Everything that the runtime and the gate know of a task, and nothing of it elsewhere.

    Attributes:
        outputs: that a graph must have.
        predict: outputs of a batch, the batch, labels, threshold -> a prediction a frame.
        comparable: a frame's answer and the labels -> what `drift` compares.
        decisions: an image's outputs, without the batch axis -> int64 (M,), what a user would act
            on: two engines that decide alike are as good as each other.
        whole: where an answer takes more than one run of one graph: all graphs by name (`MAIN`, and
            the parts) and the labels -> a function from the outputs of the main one for a batch,
            and the batch, to all outputs, of which `comparable` is made.
        read_truths: a folder -> the truth by file name, in the form that `drift` takes; empty
            where the folder has none.
        drift: the task's metrics.
    """

    outputs: tuple[str, ...]
    predict: Callable[[Outputs, Batch, Sequence[str], float], Sequence[Prediction]]
    comparable: Callable[[Answer, Sequence[str]], Any]
    decisions: Callable[[Outputs], npt.NDArray[np.int64]]
    read_truths: Callable[[Path], dict[str, Any]]
    drift: Drift
    whole: Callable[[Mapping[str, Graph], Sequence[str]], Whole] | None = None
