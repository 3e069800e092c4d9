"""Runs the PyTorch reference and engines over the same samples, and puts answers side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from export.samples import Sample
from runtime.pieces import in_pieces
from runtime.preparation import Preparation
from runtime.tasks import Answer, find_task
from runtime.tasks.task import MAIN, Graph, answers_of

Arrays = Mapping[str, npt.NDArray[Any]]
Run = Callable[[Arrays], Arrays]


def torch_run(module: nn.Module, outputs: Sequence[str]) -> Run:
    """The reference as a function from input arrays to output arrays."""

    def run(inputs: Arrays) -> Arrays:
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        with torch.inference_mode():
            result = module(**tensors)
        return {name: result[name].numpy() for name in outputs}

    return run


@dataclass(frozen=True)
class Runner:
    """A model, in PyTorch or in engines, that answers for samples.

    Attributes:
        task: of the model.
        graph: its main one.
        parts: its further ones, by name.
        labels: of the model.
    """

    task: str
    graph: Graph
    parts: Mapping[str, Graph] = field(default_factory=dict)
    labels: Sequence[str] = ()

    def answers(self, samples: Sequence[Sample]) -> list[Answer]:
        """Runs samples through, eight at a time (two where a batch is padded)."""
        found: list[Answer] = []
        preprocess, whole = self.graph.preprocess, find_task(self.task).whole
        answer = whole and whole({MAIN: self.graph, **self.parts}, self.labels)
        step = 2 if preprocess.pad else 8
        for start in range(0, len(samples), step):
            batch = preprocess([sample.read() for sample in samples[start : start + step]])
            outputs = in_pieces(self.graph.run, batch.inputs, step)
            if answer is not None:
                outputs = answer(outputs, batch)
            found += answers_of({name: np.array(v) for name, v in outputs.items()}, batch)
        return found


def comparable(task: str, found: Sequence[Answer], labels: Sequence[str]) -> list[Any]:
    """What `runtime.drift.measure` compares."""
    return [find_task(task).comparable(answer, labels) for answer in found]


def truths(samples: Iterable[Sample]) -> Any:
    """Labels in the form that `runtime.drift.measure` takes; None unless every sample has one."""
    labels = [sample.label for sample in samples]
    if any(label is None for label in labels):
        return None
    return labels


class SingleImages:
    """Preprocessed inputs of one image each, made anew at every reading.

    A sample that is cut into tiles gives several.
    """

    def __init__(self, samples: Sequence[Sample], preprocess: Preparation) -> None:
        """Nothing is read before iteration."""
        self._samples, self._preprocess = samples, preprocess

    @property
    def count(self) -> int:
        """How many samples there are."""
        return len(self._samples)

    def first(self, count: int) -> SingleImages:
        """Of the first `count` samples only."""
        return SingleImages(self._samples[:count], self._preprocess)

    def digest(self) -> str:
        """SHA-256 over every input array, so over the images and their preprocessing alike."""
        found = hashlib.sha256()
        for feed in self:
            for name, array in feed.items():
                found.update(f"{name} {array.dtype} {array.shape}".encode())
                found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()

    def __iter__(self) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """Yields name -> array with a batch axis of 1."""
        for sample in self._samples:
            inputs = self._preprocess([sample.read()]).inputs
            for index in range(len(next(iter(inputs.values())))):
                yield {name: array[index : index + 1] for name, array in inputs.items()}
