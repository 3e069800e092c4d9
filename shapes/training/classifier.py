"""Training and evaluation of the tiny classifiers.

A transformer without pretrained weights spends most of its training on telling figure from ground.
Here its last tokens are also asked which of their pixels belong to the figure, by a linear head
that is dropped afterwards; that dense target takes it off the initial plateau. The cells of a
convolutional network's last map are asked the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from runtime.preparation import Preparation
from shapes.datasets.classification import classification_image
from shapes.scene import FRAME_SIDE
from shapes.training.recolouring import recoloured
from shapes.training.trainer import Task, Trainer, Training, tensors


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
    """Wraps a classifier for training: its last tokens also predict the figure's mask."""

    def __init__(self, model: Any) -> None:
        """Shares the parameters of `model`, a transformers image classifier."""
        super().__init__()
        self.model = model
        # oneDNN's convolutions are faster so; what they are given follows.
        model.to(memory_format=torch.channels_last)
        with torch.no_grad():
            blank = torch.zeros(1, 3, FRAME_SIDE, FRAME_SIDE)
            _, cells, width = _last_tokens(model.eval()(blank, output_hidden_states=True)).shape
        self.head = nn.Linear(width, FRAME_SIDE**2 // cells)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Returns class logits (N, classes) and mask logits (N, tokens, pixels of a token)."""
        outputs = self.model(pixel_values=pixel_values, output_hidden_states=True)
        return outputs.logits.float(), self.head(_last_tokens(outputs)).float()


def _last_tokens(outputs: Any) -> Tensor:
    """Tokens (N, side², width) that tile the frame row by row, from a token list or a map."""
    last: Tensor = outputs.hidden_states[-1]
    if last.ndim == 4:
        return last.flatten(2).transpose(1, 2)
    side = math.isqrt(last.shape[1])
    return last[:, -side * side :]  # without ViT's class token


def batch_loss(
    model: nn.Module, preprocess: Preparation, images: Images, batch: int, seed: int
) -> Callable[[], Tensor]:
    """Returns a function that draws a random recoloured batch and returns its loss.

    The loss is the cross-entropy of the classes plus the mean binary cross-entropy of the masks.
    """
    rng = np.random.default_rng(seed)

    def loss() -> Tensor:
        chosen = rng.integers(len(images.frames), size=batch)
        frames, masks = recoloured(rng, images.frames[chosen], images.masks[chosen])
        with torch.autocast("cpu", torch.bfloat16):
            logits, mask_logits = model(
                torch.from_numpy(preprocess(list(frames)).inputs["pixel_values"])
            )
        by_class = functional.cross_entropy(logits, torch.from_numpy(images.labels[chosen]))
        side = math.isqrt(mask_logits.shape[1])
        cell = FRAME_SIDE // side
        cells = masks.reshape(batch, side, cell, side, cell).swapaxes(2, 3)
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
def accuracy(model: Any, preprocess: Preparation, seed: int, count: int) -> dict[str, float]:
    """Top-1 accuracy on the first `count` images of a set, computed in float32."""
    model.eval()
    images = load(seed, count)
    found = [
        model(**tensors(preprocess(list(part))))["logits"].argmax(1).numpy()
        for part in np.array_split(images.frames, -(-count // 100))
    ]
    return {"top1": float((np.concatenate(found) == images.labels).mean())}


TRAINER = Trainer(_prepare, accuracy, held_out=4000)
