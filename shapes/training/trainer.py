"""What training a family takes besides the shared loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from runtime.batch import Batch
from runtime.preparation import Preparation
from shapes.training.loop import Recipe


class Training(NamedTuple):
    """A module about to be trained, its loss on a fresh batch, and the weights to publish."""

    module: nn.Module
    loss: Callable[[], Tensor]
    weights: Callable[[], dict[str, Tensor]]


class Task(NamedTuple):
    """What is to be trained.

    Attributes:
        model: the reference module, which is published.
        preprocess: its preprocessing.
        recipe: how long.
        seed: of the images and of the batches.
        weights: to start from; None starts from random ones.
    """

    model: Any
    preprocess: Preparation
    recipe: Recipe
    seed: int
    weights: Mapping[str, Tensor] | None


@dataclass(frozen=True)
class Trainer:
    """How members of a family are trained and scored.

    Attributes:
        prepare: renders the images of a task and makes its loss.
        score: reference module, preprocessing, seed and number of images -> figures in 0..1 or
            in the unit of their name, such as `{"top1": 0.95}`.
        held_out: images on which the published figures are measured.
    """

    prepare: Callable[[Task], Training]
    score: Callable[[Any, Preparation, int, int], dict[str, float]]
    held_out: int


def published(module: nn.Module) -> dict[str, Tensor]:
    """The weights of a module without the counters of batch norms, which only training reads."""
    state: dict[str, Tensor] = module.state_dict()
    return {name: value for name, value in state.items() if "num_batches_tracked" not in name}


def tensors(batch: Batch) -> dict[str, Tensor]:
    """A batch's inputs, for the reference module."""
    return {name: torch.from_numpy(value) for name, value in batch.inputs.items()}
