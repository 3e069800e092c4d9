"""The mask that a classifier's last tokens learn: each token is asked for its own pixels."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from runtime import Preprocess
from shapes.training.classifier import Images, MaskedClassifier, batch_loss

CLASSES, SURE = 12, 20.0


class Oracle(nn.Module):
    """Gives each token the pixels of its own cell, as a map or as a list after a class token."""

    def __init__(self, cell: int, as_map: bool) -> None:
        super().__init__()
        self.cell, self.as_map = cell, as_map

    def forward(self, pixel_values: Tensor, output_hidden_states: bool) -> Any:
        assert output_hidden_states
        last = functional.pixel_unshuffle(pixel_values[:, :1], self.cell)
        if not self.as_map:
            tokens = last.flatten(2).transpose(1, 2)
            last = torch.cat([torch.zeros_like(tokens[:, :1]), tokens], 1)
        return SimpleNamespace(
            logits=torch.zeros(len(pixel_values), CLASSES), hidden_states=(None, last)
        )


@pytest.mark.parametrize("as_map", [True, False], ids=["map", "tokens"])
@pytest.mark.parametrize("cell", [8, 16], ids=["8x8-cells", "16x16-cells"])
@torch.no_grad()
def test_tokens_that_know_their_pixels_have_no_loss(cell: int, as_map: bool) -> None:
    masks = np.random.default_rng(0).random((6, 64, 64)) < 0.5
    frames = np.repeat(masks[..., None], 3, axis=3).astype(np.uint8) * 255
    images = Images(frames, np.arange(6), masks)
    model = MaskedClassifier(Oracle(cell, as_map))
    model.head.weight.copy_(SURE * torch.eye(cell * cell))
    model.head.bias.zero_()
    preprocess = Preprocess("exact", 64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    loss = batch_loss(model, preprocess, images, batch=4, seed=0)
    by_mask = np.array([float(loss()) for _ in range(20)]) - math.log(CLASSES)
    # Frames are inverted at random, and then each pixel is surely wrong. A sure and right one costs
    # e^-20, below float32's step beside log 12.
    assert np.all((abs(by_mask) < 1e-5) | (abs(by_mask - SURE) < 1e-3))
    assert (abs(by_mask) < 1e-5).any()
