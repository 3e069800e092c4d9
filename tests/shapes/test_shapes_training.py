"""Training: it learns, and what it saves is the module that transformers builds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import shapes
from runtime import Preprocess
from shapes import train
from shapes.training import detector
from shapes.training.loop import Recipe, fit

MODELS = sorted(train.RECIPES)


@pytest.mark.parametrize("model", MODELS)
def test_twenty_steps_lower_the_loss(model: str, tmp_path: Path) -> None:
    losses: list[float] = []
    recipe = Recipe(images=16, steps=20, batch=8, rate=1e-3, decay=0.0, warmup=5)
    train.train(model, tmp_path / "weights.safetensors", 0, recipe, losses.append, held_out=4)
    # Sixteen images can be memorised; the means of five steps even out which ones were drawn.
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
