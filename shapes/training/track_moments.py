"""Clips as the tiny TrackFormer is trained on them: a backbone's features, and what they show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.zoo.trackformer import TrackFormer
from runtime.tracked import Tracked
from shapes.datasets.tracks import LENGTH, MOST_FIGURES, SIDE, clip
from shapes.training.detr_loss import Targets

_GAPS = (1, 4)  # frames from one to the next, the last exclusive: long enough to be hidden between


class Seen(NamedTuple):
    """A clip without its pixels.

    Attributes:
        features: float16 (T, F, h, w), of the backbone.
        boxes: float32 (T, M, 4), cxcywh as shares of the frame.
        present: bool (T, M), whether figure i shows.
        labels: int64 (M,).
    """

    features: Tensor
    boxes: NDArray[np.float32]
    present: NDArray[np.bool_]
    labels: NDArray[np.int64]


class Moment(NamedTuple):
    """One frame of each of N clips.

    Attributes:
        features: float32 (N, F, h, w).
        targets: the figures that show.
        figures: int64 (N, T), the number within its clip of each target.
    """

    features: Tensor
    targets: Targets
    figures: Tensor


@torch.no_grad()
def seen(model: TrackFormer, preprocess: Tracked, seed: int, count: int) -> list[Seen]:
    """The first clips of the set `seed`, as the model's backbone sees them."""
    found = []
    for index in range(count):
        one = clip(seed, index)
        pixels = torch.from_numpy(preprocess.frames(list(one.frames)).inputs["pixel_values"])
        with torch.autocast("cpu", torch.bfloat16):
            features = model.features(pixels.contiguous(memory_format=torch.channels_last))
        low, high = one.boxes[..., :2] / SIDE, one.boxes[..., 2:] / SIDE
        boxes = np.concatenate([(low + high) / 2, high - low], axis=-1)
        found.append(Seen(features.contiguous().half(), boxes, one.present, one.labels))
    return found


def drawn(rng: np.random.Generator, clips: Sequence[Seen], batch: int, frames: int) -> list[Moment]:
    """So many moments of random clips, in order, forwards or backwards."""
    chosen = [clips[i] for i in rng.integers(len(clips), size=batch)]
    gaps = rng.integers(*_GAPS, size=(batch, frames - 1)).cumsum(axis=1)
    times = np.concatenate([np.zeros((batch, 1), int), gaps], axis=1)
    times += rng.integers(0, LENGTH - times[:, -1:])
    if rng.integers(2):
        times = times[:, ::-1]
    return [_moment(chosen, times[:, step]) for step in range(frames)]


def _moment(clips: Sequence[Seen], times: NDArray[np.int64]) -> Moment:
    boxes = torch.full((len(clips), MOST_FIGURES, 4), 0.5)
    labels, figures = torch.zeros(2, len(clips), MOST_FIGURES, dtype=torch.long)
    counts = []
    for row, (one, when) in enumerate(zip(clips, times, strict=True)):
        here = np.flatnonzero(one.present[when])
        boxes[row, : len(here)] = torch.from_numpy(one.boxes[when][here])
        labels[row, : len(here)] = torch.from_numpy(one.labels[here])
        figures[row, : len(here)] = torch.from_numpy(here)
        counts.append(len(here))
    most = max(counts)
    features = torch.stack([one.features[when] for one, when in zip(clips, times, strict=True)])
    return Moment(
        features.float(), Targets(boxes[:, :most], labels[:, :most], counts), figures[:, :most]
    )
