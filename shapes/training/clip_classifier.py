"""Training and evaluation of the tiny VTN.

What a figure is like in a frame has to be in the frame's features before its motion can be learned.
So linear heads, dropped afterwards, also ask the features where the figure is and how large, and
each of the backbone's tokens which of its pixels belong to the figure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from export.zoo.vtn import Vtn
from runtime.preparation import Preparation
from shapes.datasets.clips import clip
from shapes.training.recolouring import in_other_colours
from shapes.training.trainer import Task, Trainer, Training, tensors

# Standard deviation of position embeddings at the start: as large as what they are added to, since
# motion is nothing but places in order. With the usual 0.02 the loss stays at chance for longer.
_POSITIONS = 0.5
_CIRCLES = 3  # of a place


class Motions(NamedTuple):
    """Columns of `shapes.datasets.clips.Clip`, each with a first axis of N clips."""

    frames: NDArray[np.uint8]
    labels: NDArray[np.int64]
    places: NDArray[np.float64]
    masks: NDArray[np.bool_]

    def at(self, chosen: NDArray[np.int64]) -> Motions:
        """Copies of some of them."""
        return Motions(
            self.frames[chosen], self.labels[chosen], self.places[chosen], self.masks[chosen]
        )


def load(seed: int, count: int) -> Motions:
    """Renders the first `count` clips of a set."""
    clips = [clip(seed, index) for index in range(count)]
    columns: list[NDArray[Any]] = [np.stack(column) for column in zip(*clips, strict=True)]
    return Motions(*columns)


def changed(rng: np.random.Generator, motions: Motions) -> Motions:
    """Changes a batch in ways that the rendered world is indifferent to.

    Colours are exchanged; every other clip is played backwards, which is the opposite motion.
    """
    found = motions.at(np.arange(len(motions.labels)))
    columns: list[NDArray[Any]] = [found.frames, found.places, found.masks]
    for column in columns:
        column[::2] = column[::2, ::-1].copy()
    found.labels[::2] ^= 1
    return found._replace(frames=in_other_colours(rng, found.frames))


class SupervisedVtn(nn.Module):
    """Wraps a VTN for training: its backbone also says what each frame shows."""

    def __init__(self, model: Vtn) -> None:
        """Shares the parameters of `model`."""
        super().__init__()
        self.model = model
        settings = model.spatial.vit.config
        self.patch = settings.patch_size
        self.places = nn.Linear(settings.hidden_size, 2 * _CIRCLES)
        self.pixels = nn.Linear(settings.hidden_size, self.patch**2)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Class logits (N, classes), points on circles (N, T, 6) and mask logits (N, T, H, W)."""
        count, frames = pixel_values.shape[:2]
        side = pixel_values.shape[-1] // self.patch
        tokens = self.model.spatial.vit(pixel_values.flatten(0, 1)).last_hidden_state
        features = tokens[:, 0].reshape(count, frames, -1)
        logits = self.model.temporal(features)["logits"]
        cells = self.pixels(tokens[:, 1:]).transpose(1, 2).unflatten(2, (side, side))
        masks = functional.pixel_shuffle(cells, self.patch).squeeze(1).float()
        return (
            logits.float(),
            self.places(features).float(),
            masks.reshape(count, frames, *masks.shape[1:]),
        )


def _batch_loss(
    model: SupervisedVtn, preprocess: Preparation, motions: Motions, batch: int, seed: int
) -> Callable[[], Tensor]:
    """Returns a function that draws a random changed batch and returns its loss.

    The loss is the cross-entropy of the classes, plus the mean squared error of the places as
    points on circles, plus the mean binary cross-entropy of the masks.
    """
    rng = np.random.default_rng(seed)

    def loss() -> Tensor:
        chosen = rng.integers(len(motions.labels), size=batch)
        now = changed(rng, motions.at(chosen))
        inputs = torch.from_numpy(preprocess(list(now.frames)).inputs["pixel_values"])
        with torch.autocast("cpu", torch.bfloat16):
            logits, points, masks = model(inputs)
        angles = torch.from_numpy(2 * np.pi * now.places).float()
        wanted = torch.from_numpy(now.masks).float()
        return (
            functional.cross_entropy(logits, torch.from_numpy(now.labels))
            + functional.mse_loss(points, torch.cat((angles.cos(), angles.sin()), dim=-1))
            + functional.binary_cross_entropy_with_logits(masks, wanted)
        )

    return loss


def _prepare(task: Task) -> Training:
    motions, model = load(task.seed, task.recipe.images), task.model
    # torch's fused attention has a slow bfloat16 backward pass on CPUs.
    model.spatial.vit.set_attn_implementation("eager")
    if task.weights is not None:
        model.load_state_dict(task.weights)
    else:
        nn.init.normal_(model.spatial.vit.embeddings.position_embeddings, std=_POSITIONS)
        nn.init.normal_(model.temporal.position_embeddings.weight, std=_POSITIONS)
    supervised = SupervisedVtn(model)
    loss = _batch_loss(supervised, task.preprocess, motions, task.recipe.batch, task.seed)
    return Training(supervised, loss, model.state_dict)


@torch.no_grad()
def accuracy(model: Any, preprocess: Preparation, seed: int, count: int) -> dict[str, float]:
    """Top-1 accuracy on the first `count` clips of a set, computed in float32."""
    model.eval()
    motions = load(seed, count)
    found = [
        model(**tensors(preprocess(list(part))))["logits"].argmax(1).numpy()
        for part in np.array_split(motions.frames, -(-count // 100))
    ]
    return {"clip_top1": float((np.concatenate(found) == motions.labels).mean())}


TRAINER = Trainer(_prepare, accuracy, held_out=2000)
