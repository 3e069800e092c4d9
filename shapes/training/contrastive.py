"""Training and evaluation of the tiny CLIP: which caption belongs to which picture of a batch.

The loss is CLIP's (Radford et al. 2021, figure 3), but for captions that are also true of another
picture of the batch, such as "a red star" of two red stars: those are no negatives, and are left
out. The image tower may begin as a ViT classifier.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from export.spec import ROOT
from export.zoo.clip import ImageTower
from export.zoo.clip_towers import TextTower
from runtime.preparation import Preparation
from runtime.tasks.embeddings import PROMPT
from runtime.texts import Texts
from shapes.datasets.captions import (
    CAPTIONED_CLASSES,
    COLOURS,
    Facts,
    caption,
    captioned_image,
    class_of,
    said,
)
from shapes.training.pretrained import VIT
from shapes.training.pretrained_clip import tower_of
from shapes.training.trainer import Task, Trainer, Training, tensors

MERGES = "shapes/checkpoints/merges.txt"
_LARGEST_SCALE = 100.0  # section 2.5: to prevent training instability


class Images(NamedTuple):
    """Frames uint8 (N, 64, 64, 3), and what is true of each."""

    frames: NDArray[np.uint8]
    facts: list[Facts]


class Towers(nn.Module):
    """Both towers of a CLIP."""

    def __init__(self, model: nn.Module) -> None:
        """Shares the parameters of `model`, a reference."""
        super().__init__()
        self.image, self.text = ImageTower(model), TextTower(model)

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> Tensor:
        """Logits (images, texts)."""
        images, texts = self.image(pixel_values=pixel_values), self.text(input_ids=input_ids)
        scale = texts["scale"][0].float().clamp(max=_LARGEST_SCALE)
        logits: Tensor = scale * images["embeds"].float() @ texts["embeds"].float().T
        return logits


def load(seed: int, count: int) -> Images:
    """Renders the first `count` images of a set."""
    images = [captioned_image(seed, index) for index in range(count)]
    return Images(np.stack([image.frame for image in images]), [image.facts for image in images])


def texts_of(model: Any) -> Texts:
    """What makes the tokens of a reference's text tower."""
    length = model.text_model.config.max_position_embeddings
    return Texts(MERGES, length).opened(ROOT.joinpath)


def contrastive_loss(logits: Tensor, fits: Tensor) -> Tensor:
    """The mean of both cross-entropies.

    Args:
        logits: (N, N) of images and texts; those of one pair are on the diagonal.
        fits: bool (N, N), whether a text is true of an image.
    """
    others = fits & ~torch.eye(len(fits), dtype=torch.bool)
    logits = logits.masked_fill(others, -math.inf)
    wanted = torch.arange(len(logits))
    by_image, by_text = (functional.cross_entropy(rows, wanted) for rows in (logits, logits.T))
    return (by_image + by_text) / 2


def fitting(facts: Sequence[Facts], told: Sequence[Facts]) -> NDArray[np.bool_]:
    """Whether all that a text says is true of an image, (images, texts)."""

    def codes(every: Sequence[Facts]) -> NDArray[np.int64]:
        sizes = {None: -1, "small": 0, "large": 1}
        rows = [
            (
                one.shape,
                one.colour,
                sizes[one.size],
                -1 if one.background is None else one.background,
            )
            for one in every
        ]
        return np.array(rows, np.int64)

    true, claimed = codes(facts)[:, None], codes(told)[None]
    return np.asarray(((claimed == true) | (claimed < 0)).all(axis=2))


def changed(
    rng: np.random.Generator, frames: NDArray[np.uint8], facts: Sequence[Facts]
) -> tuple[NDArray[np.uint8], list[Facts]]:
    """Exchanges channels, inverts or not, and mirrors or not; with colours named anew."""
    order, inverts = rng.permutation(3), int(rng.integers(2))
    bits = np.arange(len(COLOURS))[:, None] >> np.array([2, 1, 0]) & 1
    names = ((bits[:, order] ^ inverts) @ [4, 2, 1]).tolist()
    frames = frames[:, :, :: 1 - 2 * int(rng.integers(2)), order]
    renamed = [
        replace(one, colour=names[one.colour], background=names[one.background or 0])
        for one in facts
    ]
    return (255 - frames if inverts else frames), renamed


def batch_loss(
    towers: Towers, preprocess: Preparation, texts: Texts, images: Images, batch: int, seed: int
) -> Callable[[], Tensor]:
    """Returns a function that draws a random batch, captions it, and returns its loss."""
    rng = np.random.default_rng(seed)

    def loss() -> Tensor:
        chosen = rng.integers(len(images.frames), size=batch)
        frames, facts = changed(rng, images.frames[chosen], [images.facts[i] for i in chosen])
        told = [said(rng, one) for one in facts]
        pixels = tensors(preprocess(list(frames)))["pixel_values"]
        tokens = tensors(texts([caption(rng, one) for one in told]))
        with torch.autocast("cpu", torch.bfloat16):
            logits = towers(pixels, **tokens)
        return contrastive_loss(logits, torch.from_numpy(fitting(facts, told)))

    return loss


def _prepare(task: Task) -> Training:
    images = load(task.seed, task.recipe.images)
    if task.weights is not None:
        _restore(task, images)
    texts = texts_of(task.model)
    towers = Towers(task.model)
    loss = batch_loss(towers, task.preprocess, texts, images, task.recipe.batch, task.seed)
    return Training(towers, loss, task.model.state_dict)


@torch.no_grad()
def zero_shot_top1(
    model: nn.Module, preprocess: Preparation, seed: int, count: int
) -> dict[str, float]:
    """The share of images whose best class, of all colours and shapes, is right; in float32."""
    towers, texts, images = Towers(model).eval(), texts_of(model), load(seed, count)
    prompts = tensors(texts([PROMPT.format(name) for name in CAPTIONED_CLASSES]))
    found = [
        towers(**tensors(preprocess(list(part))), **prompts).argmax(1).numpy()
        for part in np.array_split(images.frames, -(-len(images.frames) // 100))
    ]
    wanted = np.array([class_of(facts) for facts in images.facts])
    return {"zero_shot_top1": float((np.concatenate(found) == wanted).mean())}


def _restore(task: Task, images: Images) -> None:
    assert task.weights is not None
    weights: Mapping[str, Tensor] = task.weights
    if VIT in weights:
        pixels = tensors(task.preprocess(list(images.frames[:64])))["pixel_values"]
        weights = task.model.state_dict() | tower_of(weights, pixels)
    task.model.load_state_dict(weights)


TRAINER = Trainer(_prepare, zero_shot_top1, held_out=2000)
