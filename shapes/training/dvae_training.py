"""Training of a dVAE, the first stage of a DALL·E (Ramesh et al. 2021, section 2.1, appendix A).

Codes are relaxed by the Gumbel softmax; its temperature falls, so that they end up nearly as hard
as those that are used afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from export.zoo.dalle_samples import pictures
from export.zoo.dvae import drawn, within
from shapes.training.loop import Recipe, fit

_SOFT, _HARD = 1.0, 1 / 16  # temperatures at the start and at the end
_SETTLED = 0.75  # share of the steps after which it is `_HARD`
_SPREAD = 0.05  # standard deviation of a pixel about what is drawn: the likelihood is Gaussian
_EVENLY = 0.2  # weight of what stands for beta in section 2.1
_RARE = 1e-6  # added to each code's share: the entropy of 0 has no gradient


def train_dvae(model: Any, frames: NDArray[np.uint8], recipe: Recipe, seed: int) -> None:
    """The first stage; `model` is a `Dvae`, updated in place."""
    loss = dvae_loss(model, frames, recipe.batch, recipe.steps, seed)
    fit(model, loss, recipe, _report)


def temperature(share: float) -> float:
    """Of the relaxation, after a share of the steps."""
    falling = 0.5 * (1 + math.cos(math.pi * min(share / _SETTLED, 1.0)))
    return _HARD + (_SOFT - _HARD) * falling


def dvae_loss(
    model: Any, frames: NDArray[np.uint8], batch: int, steps: int, seed: int
) -> Callable[[], Tensor]:
    """Returns a function that draws a random batch and returns its loss.

    It stands for -ELBO: the likelihood is Gaussian, not the logit-Laplace of appendix A.3, and the
    divergence is what the comment says.

    Args:
        model: a `Dvae`.
        frames: (N, H, W, 3).
        batch: images.
        steps: that will be made, over which the temperature falls.
        seed: of the choice.

    Raises:
        ValueError: the decoder has outputs that a Gaussian likelihood would not train.
    """
    if model.config.laplace:
        raise ValueError("config.dvae.laplace is True; training knows only a Gaussian: give false")
    rng, resized = np.random.default_rng(seed), pictures(model.config.image_size)
    images = torch.from_numpy(resized(list(frames)).inputs["pixel_values"])
    done = 0

    def loss() -> Tensor:
        nonlocal done
        chosen = images[rng.integers(len(images), size=batch)]
        with torch.autocast("cpu", torch.bfloat16):
            logits = model.encoder(chosen).float()
            heat = temperature(done / steps)
            shares = functional.gumbel_softmax(logits, heat, dim=1)
            statistics = model.decoder.mixed(shares).float()
        done += 1
        error = functional.mse_loss(within(drawn(statistics)), within(chosen))
        likely = logits.log_softmax(dim=1)
        # Not the divergence of each cell's codes from evenness, as in section 2.1, with which
        # training settled on a fifth of the codebook, but that of the whole batch's; and, as the
        # relaxation hardens, one sure code for each cell.
        usage = likely.exp().mean(dim=(0, 2, 3)) + _RARE
        uneven = (usage * usage.log()).sum() + math.log(len(usage))
        unsure = -(likely.exp() * likely).sum(dim=1).mean()
        value: Tensor = error / (2 * _SPREAD**2) + _EVENLY * (uneven + (1 - heat) * unsure)
        return value

    return loss


def _report(step: int, value: float) -> None:
    if step % 100 == 0:
        print(f"dVAE step {step} loss {value:.3f}", flush=True)
