"""Training of the tiny TrackFormer, which starts from a trained DETR (section 3.3 of the paper).

A clip is followed for three frames. What is matched with an object becomes its track query, which
must find the same object in the next frame, or say that it is hidden; object queries find the
others. Tracks are forgotten at random, so that there are always new objects to find, and false ones
are added, which must be given up. An object that is hidden keeps the query that it had before, as
one that is lost does.

The backbone has learnt to see these figures already. It stays as it is, so that its features are
computed once; encoder and decoder learn.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from export.zoo.trackformer import TrackFormer
from runtime.tracked import Tracked
from shapes.datasets.tracks import MOST_FIGURES
from shapes.training.detr_loss import matched, set_loss
from shapes.training.track_moments import Moment, Seen, drawn, seen
from shapes.training.track_scores import tracking_scores
from shapes.training.trainer import Task, Trainer, Training, published

_FRAMES = 3
_FORGOTTEN = 0.3  # p_FN of the paper is 0.4; here tracks pass two frames
_FALSE = 0.2  # p_FP is 0.1
_FALSE_SLOTS = 2
_NEVER, _SURELY = 1e4, -1e4  # against costs of order 10


class Tracks(NamedTuple):
    """Track queries of N clips: figure i of a clip has slot i, false tracks the last ones.

    Attributes:
        queries: (N, slots, D).
        mask: (N, slots), 1 where there is a track.
    """

    queries: Tensor
    mask: Tensor

    @classmethod
    def none(cls, clips: int, width: int) -> Tracks:
        """Of clips that begin."""
        slots = MOST_FIGURES + _FALSE_SLOTS
        return cls(torch.zeros(clips, slots, width), torch.zeros(clips, slots))


class Predictions(NamedTuple):
    """Of K decoder layers, all of which DETR supervises.

    Attributes:
        logits: float32 (K, N, queries, classes + 1).
        boxes: float32 (K, N, queries, 4).
        hidden: float32 (N, queries, D), of the last one.
    """

    logits: Tensor
    boxes: Tensor
    hidden: Tensor


class LayeredTrackFormer(nn.Module):
    """Predicts from every decoder layer, from what the backbone has seen."""

    def __init__(self, model: TrackFormer) -> None:
        """Takes over `model`, whose backbone is frozen."""
        super().__init__()
        model.model.freeze_backbone()
        self.model = model
        self._states: list[Tensor] = []
        for layer in model.model.decoder.layers:
            layer.register_forward_hook(lambda _module, _args, state: self._states.append(state))

    def forward(self, features: Tensor, tracks: Tracks) -> Predictions:
        """The predictions for one frame of each clip."""
        tokens, positions = self.model.encode(features)
        self._states.clear()
        hidden = self.model.decode(tokens, positions, *tracks)
        states = self.model.model.decoder.layernorm(torch.stack(self._states))
        boxes = self.model.bbox_predictor(states).sigmoid()
        return Predictions(self.model.class_labels_classifier(states), boxes, hidden)


def batch_loss(
    model: LayeredTrackFormer, width: int, clips: Sequence[Seen], batch: int, seed: int
) -> Callable[[], Tensor]:
    """Returns a function that follows a random batch of clips and returns the loss."""
    rng = np.random.default_rng(seed)

    def loss() -> Tensor:
        total = torch.zeros(())
        tracks = Tracks.none(batch, width)
        for moment in drawn(rng, clips, batch, _FRAMES):
            found = model(moment.features, tracks)
            queries = found.logits.shape[2]
            bias = _bias(tracks, moment, queries)
            absent = torch.zeros(batch, queries, dtype=torch.bool)
            absent[:, : tracks.mask.shape[1]] = tracks.mask == 0
            total = total + set_loss(found.logits, found.boxes, moment.targets, bias, absent)
            tracks = _followed(rng, tracks, found, moment, bias)
        return total / _FRAMES

    return loss


def _bias(tracks: Tracks, moment: Moment, queries: int) -> Tensor:
    """For `matched`: a figure goes with its track, or with an object query; (N, queries, T)."""
    clips, slots = tracks.mask.shape
    bias = torch.zeros(clips, queries, moment.figures.shape[1])
    bias[:, :slots] = _NEVER
    row = torch.arange(clips)[:, None].expand_as(moment.figures)
    item = torch.arange(moment.figures.shape[1]).expand_as(moment.figures)
    followed = tracks.mask[row, moment.figures] > 0
    bias[row[followed], moment.figures[followed], item[followed]] = _SURELY
    return bias


def _followed(
    rng: np.random.Generator, tracks: Tracks, found: Predictions, moment: Moment, bias: Tensor
) -> Tracks:
    """The tracks after a frame; some are forgotten, and some false ones are added."""
    last = found.logits[-1:].detach(), found.boxes[-1:].detach()
    row, query, item = matched(*last, moment.targets, bias)
    figure = moment.figures[row, item]
    queries, mask = tracks.queries.clone(), tracks.mask.clone()
    queries[row, figure], mask[row, figure] = found.hidden[row, query], 1.0
    mask *= torch.from_numpy(rng.uniform(size=mask.shape) >= _FORGOTTEN)
    mask[:, MOST_FIGURES:] = 0.0
    slots = mask.shape[1]
    free = torch.ones(last[0].shape[1:3], dtype=torch.bool)
    free[:, :slots] = False
    free[row, query] = False
    for slot in range(MOST_FIGURES, slots):
        for place in np.flatnonzero(rng.uniform(size=len(mask)) < _FALSE):
            nothing = free[place].nonzero()[:, 0]
            queries[place, slot] = found.hidden[place, nothing[rng.integers(len(nothing))]]
            mask[place, slot] = 1.0
    return Tracks(queries, mask)


def _prepare(task: Task) -> Training:
    assert isinstance(task.preprocess, Tracked)
    if task.weights is not None:
        task.model.load_state_dict(dict(task.weights))
    clips = seen(task.model.eval(), task.preprocess, task.seed, task.recipe.images)
    model = LayeredTrackFormer(task.model)
    loss = batch_loss(model, task.preprocess.width, clips, task.recipe.batch, task.seed)
    return Training(model, loss, functools.partial(published, task.model))


TRAINER = Trainer(_prepare, tracking_scores, held_out=150)
