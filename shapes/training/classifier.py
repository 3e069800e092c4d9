"""Training and evaluation of the tiny classifiers.

A transformer without pretrained weights spends most of its training on telling figure from ground.
Here its last tokens are also asked which of their pixels belong to the figure, by a linear head
that is dropped afterwards; that dense target takes it off the initial plateau.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from runtime import Preprocess
from shapes.datasets.classification import classification_image
from shapes.scene import FRAME_SIDE
from shapes.training.trainer import Task, Trainer, Training, tensors

_GRID = 8  # tokens a side at the end of both classifiers
_CELL = FRAME_SIDE // _GRID


class Images(NamedTuple):
    """Frames uint8 (N, 64, 64, 3), labels int64 (N,) and figure masks bool (N, 64, 64)."""

    frames: NDArray[np.uint8]
    labels: NDArray[np.int64]
    masks: NDArray[np.bool_]


def load(seed: int, count: int) -> Images:
    """Renders the first `count` images of a set."""
    portraits = [classification_image(seed, index) for index in range(count)]
    return Images(
        np.stack([portrait.frame for portrait in portraits]),
        np.array([portrait.label for portrait in portraits]),
        np.stack([portrait.mask for portrait in portraits]),
    )


class MaskedClassifier(nn.Module):
    """Wraps a ViT or Swin classifier for training: its tokens also predict the figure's mask."""

    def __init__(self, model: Any) -> None:
        """Shares the parameters of `model`, a transformers image classifier."""
        super().__init__()
        self.model = model
        self.head = nn.Linear(model.classifier.in_features, _CELL * _CELL)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Returns class logits (N, classes) and mask logits (N, 64 tokens, 64 pixels)."""
        outputs = self.model(pixel_values=pixel_values, output_hidden_states=True)
        tokens = outputs.hidden_states[-1][:, -_GRID * _GRID :]  # without ViT's class token
        return outputs.logits.float(), self.head(tokens).float()


def batch_loss(
    model: nn.Module, preprocess: Preprocess, images: Images, batch: int, seed: int
) -> Callable[[], Tensor]:
    """Returns a function that draws a random recoloured batch and returns its loss.

    The loss is the cross-entropy of the classes plus the mean binary cross-entropy of the masks.
    """
    rng = np.random.default_rng(seed)

    def loss() -> Tensor:
        chosen = rng.integers(len(images.frames), size=batch)
        frames, masks = _recoloured(rng, images.frames[chosen], images.masks[chosen])
        with torch.autocast("cpu", torch.bfloat16):
            logits, mask_logits = model(
                torch.from_numpy(preprocess(list(frames)).inputs["pixel_values"])
            )
        by_class = functional.cross_entropy(logits, torch.from_numpy(images.labels[chosen]))
        cells = masks.reshape(batch, _GRID, _CELL, _GRID, _CELL).swapaxes(2, 3)
        wanted = torch.from_numpy(cells.reshape(mask_logits.shape).astype(np.float32))
        return by_class + functional.binary_cross_entropy_with_logits(mask_logits, wanted)

    return loss


def _prepare(task: Task) -> Training:
    images = load(task.seed, task.recipe.images)
    if task.weights is not None:
        task.model.load_state_dict(task.weights)
    masked = MaskedClassifier(task.model)
    loss = batch_loss(masked, task.preprocess, images, task.recipe.batch, task.seed)
    return Training(masked, loss, task.model.state_dict)


@torch.no_grad()
def accuracy(model: Any, preprocess: Preprocess, seed: int, count: int) -> dict[str, float]:
    """Top-1 accuracy on the first `count` images of a set, computed in float32."""
    model.eval()
    images = load(seed, count)
    found = [
        model(**tensors(preprocess(list(part))))["logits"].argmax(1).numpy()
        for part in np.array_split(images.frames, -(-count // 100))
    ]
    return {"top1": float((np.concatenate(found) == images.labels).mean())}


TRAINER = Trainer(_prepare, accuracy, held_out=4000)


def _recoloured(
    rng: np.random.Generator, frames: NDArray[np.uint8], masks: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Changes a batch in ways that the rendered world is indifferent to: mirrors and colours."""
    frames = frames[..., rng.permutation(3)]
    if rng.integers(2):
        frames = 255 - frames
    mirror = 1 - 2 * int(rng.integers(2))
    return frames[:, :, ::mirror], masks[:, :, ::mirror]
