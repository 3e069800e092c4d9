"""Training of the tiny DALL·E, in two stages (Ramesh et al. 2021, section 2).

The dVAE first, then the transformer: the next token of captions and codes, an eighth of the loss
being the caption's (appendix B.2). Weights to start from are those of which the dVAE is trained
already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from export.zoo.dalle_samples import codes_of
from shapes.datasets.drawings import drawings
from shapes.training.dvae_training import train_dvae
from shapes.training.loop import Recipe
from shapes.training.painter_scores import following, score
from shapes.training.trainer import Task, Trainer, Training

_AT_ONCE = 500  # pictures whose codes are made
_TEXT_SHARE = 1 / 8


def first_stage(recipe: Recipe) -> Recipe:
    """How the dVAE is trained, where `recipe` is the transformer's."""
    images, steps = recipe.images // 2, 3 * recipe.steps // 2
    return Recipe(images, steps, batch=16, rate=4e-3, decay=1e-4, warmup=50)


def transformer_loss(
    model: Any, texts: NDArray[np.int64], codes: NDArray[np.int64], batch: int, seed: int
) -> Callable[[], Tensor]:
    """Returns a function that draws a random batch and returns its loss, in nats a token.

    Args:
        model: the reference module.
        texts: (N, text_length) as preprocessed.
        codes: (N, grid²) of their pictures.
        batch: of both.
        seed: of the choice.
    """
    rng = np.random.default_rng(seed)
    end = texts.max()

    def loss() -> Tensor:
        rows = rng.integers(len(texts), size=batch)
        words, cells = torch.from_numpy(texts[rows]), torch.from_numpy(codes[rows])
        with torch.autocast("cpu", torch.bfloat16):
            of_text, of_image = following(model, words, cells)
        # What pads a text is told by no token.
        wanted = words.masked_fill((words == end).cumsum(1) > (words == end).long(), -100)
        said = functional.cross_entropy(of_text.float().flatten(0, 1), wanted[:, 1:].flatten())
        drawn = functional.cross_entropy(of_image.float().flatten(0, 1), cells.flatten())
        return _TEXT_SHARE * said + (1 - _TEXT_SHARE) * drawn

    return loss


def _prepare(task: Task) -> Training:
    model, recipe = task.model, task.recipe
    found = drawings(task.seed, recipe.images)
    texts, frames = [one.text for one in found], np.stack([one.frame for one in found])
    if task.weights is None:
        first = first_stage(recipe)
        train_dvae(model.dvae, frames[: first.images], first, task.seed)
    else:
        model.load_state_dict(task.weights)
    model.dvae.requires_grad_(False)
    parts = [frames[start : start + _AT_ONCE] for start in range(0, len(frames), _AT_ONCE)]
    codes = np.concatenate([codes_of(model, list(part)) for part in parts])
    tokens = task.preprocess(texts).inputs["input_ids"]
    loss = transformer_loss(model, tokens, codes, recipe.batch, task.seed)
    return Training(model, loss, model.state_dict)


TRAINER = Trainer(_prepare, score, held_out=500)
