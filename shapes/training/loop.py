"""The optimisation loop that every tiny model shares."""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train.

    Attributes:
        images: rendered images in the training set.
        steps: optimiser steps.
        batch: images a step.
        rate: peak learning rate, after a linear warm-up and before a cosine decay.
        decay: AdamW weight decay.
        warmup: steps of linear warm-up.
    """

    images: int
    steps: int
    batch: int
    rate: float
    decay: float
    warmup: int = 300


def fit(
    module: nn.Module,
    loss: Callable[[], Tensor],
    recipe: Recipe,
    report: Callable[[int, float], None] = lambda step, value: None,
) -> None:
    """Minimises `loss`, which draws its own batch, over the parameters of `module`.

    Args:
        module: updated in place.
        loss: returns the scalar loss of a fresh batch.
        recipe: steps and rates.
        report: told the number of steps done and the loss, after every step.
    """
    keep_freed_memory()
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=recipe.decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, recipe))
    module.train()
    for step in range(1, recipe.steps + 1):
        value = loss()
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        report(step, value.item())


def keep_freed_memory() -> None:
    """Stops glibc from returning every large tensor to the kernel (no effect elsewhere).

    Page faults on memory that was mapped anew otherwise take about a third of a training step.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _rate(step: int, recipe: Recipe) -> float:
    warm = min((step + 1) / recipe.warmup, 1.0)
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / recipe.steps)))
