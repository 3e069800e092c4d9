"""Training and evaluation of the tiny SETRs.

As in the paper the encoder is supervised besides the decoder. Here a linear layer, dropped
afterwards, asks each of its last tokens for the classes of all pixels of its patch: that is what
the coarsest decoder cannot say, and it takes the encoder off the initial plateau.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from export.zoo.setr import Setr
from runtime.drift.segmentation import mean_iou, overlaps
from runtime.preparation import Preparation
from runtime.tasks.segmentation import segment
from shapes.datasets.segmentation import SEGMENTATION_NAMES, segmentation_image
from shapes.training.pretrained import VIT, encoder_of
from shapes.training.recolouring import recoloured
from shapes.training.trainer import Task, Trainer, Training, published, tensors

_CLASSES = len(SEGMENTATION_NAMES)


class Images(NamedTuple):
    """Frames uint8 (N, 64, 64, 3) and their class maps uint8 (N, 64, 64)."""

    frames: NDArray[np.uint8]
    classes: NDArray[np.uint8]


def load(seed: int, count: int) -> Images:
    """Renders the first `count` images of a set."""
    groups = [segmentation_image(seed, index) for index in range(count)]
    return Images(
        np.stack([group.frame for group in groups]), np.stack([group.classes for group in groups])
    )


class SupervisedSetr(nn.Module):
    """Wraps a SETR for training: its encoder also predicts the pixels of each patch."""

    def __init__(self, model: Setr, image_size: int) -> None:
        """Shares the parameters of `model`."""
        super().__init__()
        self.model = model
        self.patch = image_size // model.grid
        width = model.positions.shape[-1]
        self.pixels = nn.Conv2d(width, _CLASSES * self.patch**2, 1)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, classes, H, W) of the decoder and of the encoder."""
        features = self.model.features(pixel_values)
        coarse = self.model.decoder(features).float()
        size = pixel_values.shape[-2:]
        fine = functional.pixel_shuffle(self.pixels(features[-1]), self.patch).float()
        return functional.interpolate(coarse, size, mode="bilinear"), fine


def batch_loss(
    model: nn.Module, preprocess: Preparation, images: Images, batch: int, seed: int
) -> Callable[[], Tensor]:
    """Returns a function that draws a random recoloured batch and returns its loss.

    The loss is the mean cross-entropy of the pixels, of the decoder plus of the encoder.
    """
    rng = np.random.default_rng(seed)

    def loss() -> Tensor:
        chosen = rng.integers(len(images.frames), size=batch)
        frames, classes = recoloured(rng, images.frames[chosen], images.classes[chosen])
        inputs = preprocess(list(frames)).inputs["pixel_values"]
        with torch.autocast("cpu", torch.bfloat16):
            found = model(torch.from_numpy(inputs))
        wanted = torch.from_numpy(classes.astype(np.int64))
        by_decoder, by_encoder = (functional.cross_entropy(logits, wanted) for logits in found)
        return by_decoder + by_encoder

    return loss


def _prepare(task: Task) -> Training:
    images = load(task.seed, task.recipe.images)
    if task.weights is not None:
        _restore(task.model, task.weights)
    supervised = SupervisedSetr(task.model, images.frames.shape[1])
    loss = batch_loss(supervised, task.preprocess, images, task.recipe.batch, task.seed)
    return Training(supervised, loss, lambda: published(task.model))


def _restore(model: Setr, weights: Mapping[str, Tensor]) -> None:
    """Loads a ViT as the encoder, or of a SETR what fits: its decoder may be another one."""
    own = model.state_dict()
    if VIT in weights:
        weights = encoder_of(weights, own)
    shared = {
        name: tensor
        for name, tensor in weights.items()
        if name in own and tensor.shape == own[name].shape
    }
    model.load_state_dict(own | shared)


@torch.no_grad()
def miou(model: Any, preprocess: Preparation, seed: int, count: int) -> dict[str, float]:
    """Mean intersection over union of all classes, on the first `count` images of a set."""
    model.eval()
    images = load(seed, count)
    found: list[NDArray[Any]] = []
    for part in np.array_split(images.frames, -(-count // 100)):
        batch = preprocess(list(part))
        logits = model(**tensors(batch))["logits"].numpy()
        answers = segment(logits, batch.frame_sizes, SEGMENTATION_NAMES, batch.regions)
        found.extend(answer.class_map for answer in answers)
    counts = overlaps(list(images.classes), found, _CLASSES)
    return {"miou": float(mean_iou(counts, np.ones((1, count)))[0])}


TRAINER = Trainer(_prepare, miou, held_out=1000)
