"""The three decoders of SETR (Zheng et al. 2021, section 3.3): Naive, PUP and MLA.

Each turns maps of the encoder's features, (B, C, h, w), into class logits. The paper enlarges these
bilinearly to the image as its last step; here that is left to whoever shows the frame
(`runtime.tasks.segmentation`), whose size the graph does not know. In PUP the last enlargement
comes before the classifier, a 1 x 1 convolution: the weights of an interpolation sum to one, so
that the two commute, and the classifier can come first.

Convolutions are followed by batch norm and ReLU, with channels and biases as in the authors' code
(https://github.com/fudan-zvg/SETR, mmseg/models/decode_heads).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.zoo.folding import fold_norm
from export.zoo.setr_config import SetrConfig


class ConvUnit(nn.Module):
    """Convolution, batch norm, ReLU; the map keeps its size."""

    def __init__(self, channels: int, out: int, kernel: int, *, bias: bool) -> None:
        """Args: channels: of the input; out: of the output; kernel: side, odd."""
        super().__init__()
        self.convolution = nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=bias)
        self.normalization: nn.Module = nn.BatchNorm2d(out)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, out, h, w)."""
        return functional.relu(self.normalization(self.convolution(features)))

    def fold(self) -> None:
        """Makes convolution and batch norm, in eval mode, one convolution."""
        fold_norm(self.convolution, self.normalization)
        self.normalization = nn.Identity()


class Naive(nn.Module):
    """A two-layer network on each token: logits of the size of the encoder's map."""

    def __init__(self, config: SetrConfig) -> None:
        """Args: config: of the model."""
        super().__init__()
        self.layers: tuple[int, ...] = (config.num_hidden_layers,)
        self.project = ConvUnit(config.hidden_size, config.decoder_channels, 1, bias=True)
        self.classifier = nn.Conv2d(config.decoder_channels, config.num_labels, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """The last layer's map (B, C, h, w) -> logits (B, classes, h, w)."""
        logits: Tensor = self.classifier(self.project(features[0]))
        return logits


class Pup(nn.Module):
    """Progressive upsampling: convolutions that alternate with enlargements by two.

    As many as lead from a patch to a pixel, four for the paper's patches of 16; the last
    enlargement is left out, as above.
    """

    def __init__(self, config: SetrConfig) -> None:
        """Args: config: of the model; its patch is a power of two."""
        super().__init__()
        self.layers: tuple[int, ...] = (config.num_hidden_layers,)
        channels = config.decoder_channels
        steps = int(math.log2(config.patch_size))
        self.steps = nn.ModuleList(
            ConvUnit(channels if step else config.hidden_size, channels, 3, bias=True)
            for step in range(steps)
        )
        self.classifier = nn.Conv2d(channels, config.num_labels, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """The last layer's map (B, C, h, w) -> logits (B, classes, patch / 2 · h, …)."""
        found = features[0]
        for index, step in enumerate(self.steps):
            found = step(enlarged(found, 2) if index else found)
        logits: Tensor = self.classifier(found)
        return logits


class Mla(nn.Module):
    """Multi-level aggregation: four streams from evenly spread layers, each fed by the deeper ones.

    A stream is reduced, gets the sum of the deeper ones added (top-down aggregation, figure 1c),
    goes through three convolutions and is enlarged by four; the classifier sees all together.
    """

    def __init__(self, config: SetrConfig) -> None:
        """Args: config: of the model."""
        super().__init__()
        self.layers: tuple[int, ...] = tuple(config.mla_layers)
        channels, half = config.decoder_channels, config.decoder_channels // 2
        count = len(self.layers)
        self.reduce = nn.ModuleList(
            ConvUnit(config.hidden_size, channels, 1, bias=False) for _ in range(count)
        )
        self.streams = nn.ModuleList(
            nn.Sequential(
                ConvUnit(channels, channels, 3, bias=False),
                ConvUnit(channels, half, 3, bias=False),
                ConvUnit(half, half, 3, bias=False),
            )
            for _ in range(count)
        )
        self.classifier = nn.Conv2d(count * half, config.num_labels, 3, padding=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Maps (B, C, h, w) of `layers`, the shallowest first -> logits (B, classes, 4h, 4w)."""
        reduced = [unit(found) for unit, found in zip(self.reduce, features, strict=True)]
        for index in reversed(range(len(reduced) - 1)):
            reduced[index] = reduced[index] + reduced[index + 1]
        fine = [enlarged(s(found), 4) for s, found in zip(self.streams, reduced, strict=True)]
        logits: Tensor = self.classifier(torch.cat(fine, dim=1))
        return logits


def enlarged(features: Tensor, factor: int) -> Tensor:
    """(B, C, h, w) -> (B, C, factor · h, factor · w), bilinear between the pixels' centres."""
    return functional.interpolate(
        features, scale_factor=float(factor), mode="bilinear", align_corners=False
    )


DECODERS: dict[str, Any] = {"naive": Naive, "pup": Pup, "mla": Mla}
"""By the name that a configuration has for them."""
