"""Training and evaluation of the tiny classifiers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from runtime import Preprocess
from shapes.datasets import classification

_LABEL_SMOOTHING = 0.05  # keeps logits, hence activation ranges, moderate
_ALIKE = 8  # groups of a batch that are transformed alike: cheaper than one by one

Images = tuple[NDArray[np.uint8], NDArray[np.int64]]


def load(seed: int, count: int) -> Images:
    """Renders a set: uint8 (count, 64, 64, 3) and int64 (count,)."""
    pairs = list(classification(seed, count))
    return np.stack([frame for frame, _ in pairs]), np.array([label for _, label in pairs])


def batch_loss(
    model: nn.Module, preprocess: Preprocess, images: Images, batch: int, seed: int
) -> Callable[[], Tensor]:
    """Returns a function that draws a random augmented batch and returns its cross-entropy."""
    frames, labels = images
    rng = np.random.default_rng(seed)

    def loss() -> Tensor:
        chosen = rng.integers(len(frames), size=batch)
        pixels = _pixels(preprocess, list(_augmented(rng, frames[chosen])))
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(pixel_values=pixels).logits
        wanted = torch.from_numpy(labels[chosen])
        return functional.cross_entropy(logits.float(), wanted, label_smoothing=_LABEL_SMOOTHING)

    return loss


@torch.no_grad()
def accuracy(model: nn.Module, preprocess: Preprocess, images: Images) -> float:
    """Top-1 accuracy in 0..1, computed in float32."""
    frames, labels = images
    model.eval()
    found = [
        model(pixel_values=_pixels(preprocess, list(part))).logits.argmax(1).numpy()
        for part in np.array_split(frames, -(-len(frames) // 100))
    ]
    return float((np.concatenate(found) == labels).mean())


def _pixels(preprocess: Preprocess, frames: Sequence[NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(preprocess(frames).inputs["pixel_values"])


def _augmented(rng: np.random.Generator, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Changes (N, 64, 64, 3) frames in ways that the rendered world is indifferent to.

    Figures stand at any angle, mirrored or not, in colours that say nothing of their class.
    """
    frames = frames[..., rng.permutation(3)]
    parts = []
    for part in np.array_split(frames, _ALIKE):
        part = np.rot90(part, rng.integers(4), axes=(1, 2))
        part = part[:, :, ::-1] if rng.integers(2) else part
        parts.append(255 - part if rng.integers(2) else part)
    return np.concatenate(parts)
