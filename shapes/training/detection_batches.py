"""Batches of rendered detection frames, and the loss of the tiny DETR on them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runtime.preparation import Preparation
from shapes.datasets.detection import detection
from shapes.scene import Annotated
from shapes.training.detector import GROUPS, GroupedDetr, Predictions, deployable, restore
from shapes.training.detr_loss import Targets, set_loss, token_loss
from shapes.training.scores import ap50
from shapes.training.trainer import Task, Trainer, Training


class Sample(NamedTuple):
    """A frame uint8 (H, W, 3), boxes (M, 4) cxcywh as shares of the frame, and labels (M,)."""

    frame: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]


def batch_loss(
    model: GroupedDetr, preprocess: Preparation, images: Sequence[Annotated], batch: int, seed: int
) -> Callable[[], Tensor]:
    """Returns a function that draws a random turned batch and returns DETR's loss on it."""
    rng = np.random.default_rng(seed)
    samples = [_sample(image) for image in images]

    def loss() -> Tensor:
        # Batches of one orientation waste less on padding; mixed ones teach the mask.
        portrait = int(rng.integers(2)) if rng.uniform() < 0.8 else None
        chosen = [turned(rng, samples[i], portrait) for i in rng.integers(len(samples), size=batch)]
        inputs = preprocess([sample.frame for sample in chosen]).inputs
        pixels = torch.from_numpy(inputs["pixel_values"]).contiguous(
            memory_format=torch.channels_last
        )
        with torch.autocast("cpu", torch.bfloat16):
            found: Predictions = model(pixels, torch.from_numpy(inputs["pixel_mask"]))
        targets = _targets(chosen)
        by_query = set_loss(found.logits, found.boxes, targets) / GROUPS
        return by_query + token_loss(found.token_logits, found.token_boxes, found.mask, targets)

    return loss


def _sample(image: Annotated) -> Sample:
    height, width = image.frame.shape[:2]
    corners = image.boxes / np.array([width, height, width, height], np.float32)
    low, high = corners[:, :2], corners[:, 2:]
    return Sample(image.frame, np.concatenate([(low + high) / 2, high - low], 1), image.labels)


def turned(rng: np.random.Generator, sample: Sample, portrait: int | None) -> Sample:
    """Transposes and mirrors a sample at random, to the wanted orientation if there is one."""
    frame, boxes, labels = sample
    is_portrait = frame.shape[0] > frame.shape[1]
    if rng.integers(2) if portrait is None else is_portrait != bool(portrait):
        frame, boxes = frame.transpose(1, 0, 2), boxes[:, [1, 0, 3, 2]]
    for axis, centre in ((1, 0), (0, 1)):
        if rng.integers(2):
            frame, boxes = np.flip(frame, axis), boxes.copy()
            boxes[:, centre] = 1 - boxes[:, centre]
    return Sample(frame, boxes, labels)


def _targets(samples: Sequence[Sample]) -> Targets:
    counts = [len(sample.labels) for sample in samples]
    boxes = torch.full((len(samples), max(counts), 4), 0.5)
    labels = torch.zeros((len(samples), max(counts)), dtype=torch.long)
    for row, (count, sample) in enumerate(zip(counts, samples, strict=True)):
        boxes[row, :count] = torch.from_numpy(sample.boxes)
        labels[row, :count] = torch.from_numpy(sample.labels)
    return Targets(boxes, labels, counts)


def _prepare(task: Task) -> Training:
    grouped = GroupedDetr(task.model)
    if task.weights is not None:
        restore(grouped, dict(task.weights))
    frames = list(detection(task.seed, task.recipe.images))
    loss = batch_loss(grouped, task.preprocess, frames, task.recipe.batch, task.seed)
    return Training(grouped, loss, functools.partial(deployable, grouped))


TRAINER = Trainer(_prepare, ap50, held_out=1000)
