"""The layers of a BiT ResNet (Kolesnikov et al. 2020) in the forms in which they are exported.

They compute the same: weights are standardised once instead of at every call, and no shape but the
batch's is left to be worked out when the graph runs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.bit.modeling_bit import BitGroupNormActivation, WeightStandardizedConv2d


class _Convolution(nn.Conv2d):
    """A weight-standardised convolution (Qiao et al. 2019) whose weights have been standardised."""

    def __init__(self, conv: Any) -> None:
        sizes = conv.in_channels, conv.out_channels, conv.kernel_size
        super().__init__(*sizes, stride=conv.stride, padding=conv.padding, bias=False)
        self.pad = nn.Identity() if conv.pad is None else conv.pad
        kernel = conv.weight.detach().flatten(1)
        variance, mean = torch.var_mean(kernel, dim=1, correction=0, keepdim=True)
        self.weight = nn.Parameter(
            ((kernel - mean) * (variance + conv.eps).rsqrt()).view_as(conv.weight)
        )

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(self.pad(features))


class _GroupNorm(nn.Module):
    """A group norm and its activation in a form whose shapes are constants in the graph."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.groups, self.eps, self.activation = norm.num_groups, norm.eps, norm.activation
        self.weight = nn.Parameter(norm.weight.detach()[:, None, None])
        self.bias = nn.Parameter(norm.bias.detach()[:, None, None])

    def forward(self, features: Tensor) -> Tensor:
        groups = features.reshape(features.shape[0], self.groups, -1)
        normal = functional.instance_norm(groups, eps=self.eps).reshape(features.shape)
        return self.activation(normal * self.weight + self.bias)  # type: ignore[no-any-return]


def use_plain_layers(module: nn.Module) -> None:
    """Replaces BiT's convolutions and group norms within an eval-mode module, in place."""
    for name, child in module.named_children():
        if isinstance(child, WeightStandardizedConv2d):
            setattr(module, name, _Convolution(child))
        elif isinstance(child, BitGroupNormActivation):
            setattr(module, name, _GroupNorm(child))
        else:
            use_plain_layers(child)
