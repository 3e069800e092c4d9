"""Batch normalisation as what it is at inference: part of the convolution before it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.models.resnet.modeling_resnet import ResNetConvLayer, ResNetShortCut

_FROZEN_EPS = 1e-5  # of DETR's frozen batch norms, which have no attribute for it


@torch.no_grad()
def fold_norm(convolution: nn.Conv2d, norm: Any) -> None:
    """Puts a batch norm, live or frozen, in eval mode, into the convolution that it follows.

    norm(W x + c) = (s W) x + s (c - m) + b with s = g / sqrt(v + eps): one convolution.
    """
    scale = norm.weight * (norm.running_var + getattr(norm, "eps", _FROZEN_EPS)).rsqrt()
    bias = 0.0 if convolution.bias is None else convolution.bias
    convolution.weight.mul_(scale[:, None, None, None])
    convolution.bias = nn.Parameter(norm.bias + (bias - norm.running_mean) * scale)


def fold_resnet_norms(model: nn.Module) -> None:
    """Folds every batch norm of a `transformers` ResNet, wherever in `model` it is, in place."""
    for layer in model.modules():
        if isinstance(layer, ResNetConvLayer | ResNetShortCut):
            fold_norm(layer.convolution, layer.normalization)
            layer.normalization = nn.Identity()
