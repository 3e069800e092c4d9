"""CLIP with a ResNet (Radford et al. 2021, section 2.4).

The ResNet-50 is changed as in ResNet-D (He et al. 2018) and with antialiased strides (Zhang 2019):
three convolutions and an average pooling are the stem, every stride is an average pooling before a
1 x 1 convolution, and attention takes the place of the last average pooling. The text tower is that
of the other CLIPs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel

from export.zoo.clip_names import OPENAI_RESNET
from export.zoo.clip_towers import TEXT, unit, use_operators_in_towers
from export.zoo.family import Family
from export.zoo.folding import fold_norm
from export.zoo.mixing import Mix, fuse_mixes
from export.zoo.reference import OwnModule

_EXPANSION = 4  # of a bottleneck's channels


@dataclass(frozen=True)
class ClipResnetConfig:
    """A CLIP with a ResNet.

    Attributes:
        image_size: side in pixels, a multiple of 2 to the power of stages + 1.
        width: channels of the stem and of the first stage's bottlenecks.
        depths: bottlenecks of each stage; each has twice the channels of the one before.
        heads: of the pooling attention.
        projection_dim: of embeddings.
        text_config: of `transformers`' CLIP text model.
    """

    image_size: int
    width: int
    depths: tuple[int, ...]
    heads: int
    projection_dim: int
    text_config: dict[str, Any] = field(default_factory=dict)


class ConvUnit(nn.Module):
    """A convolution without bias and its batch norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        """Args: inputs, outputs: channels."""
        super().__init__()
        padding = kernel // 2
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, ...)."""
        found: Tensor = self.norm(self.convolution(maps))
        return found

    def fold(self) -> None:
        """Makes one convolution of both; eval mode."""
        fold_norm(self.convolution, self.norm)
        self.norm = nn.Identity()


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside a shortcut; a stride is a pooling."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        """Args: inputs: channels; width: of the 3 x 3 convolution."""
        super().__init__()
        outputs = width * _EXPANSION
        self.reduce = ConvUnit(inputs, width)
        self.mix = ConvUnit(width, width, 3)
        self.expand = ConvUnit(width, outputs)
        self.pool: nn.Module = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        changes = stride > 1 or inputs != outputs
        self.shortcut: nn.Module = ConvUnit(inputs, outputs) if changes else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, 4 width, H / stride, W / stride)."""
        hidden = self.mix(self.reduce(maps).relu()).relu()
        found: Tensor = self.expand(self.pool(hidden)) + self.shortcut(self.pool(maps))
        return found.relu()


class AttentionPool(nn.Module):
    """One query, the mean of all cells, attends to it and to them."""

    def __init__(self, width: int, heads: int, cells: int, outputs: int) -> None:
        """Args: width: channels of the map; cells: of the map; outputs: of the projection."""
        super().__init__()
        self.heads = heads
        self.positions = nn.Parameter(torch.randn(cells + 1, width) / math.sqrt(width))
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.output = nn.Linear(width, outputs)
        self.pooling = Mix()

    def forward(self, maps: Tensor) -> Tensor:
        """(B, width, h, w) -> (B, outputs)."""
        tokens = maps.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1) + self.positions
        query, key, value = (
            linear(given).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear, given in (
                (self.query, tokens[:, :1]),
                (self.key, tokens),
                (self.value, tokens),
            )
        )
        mixed = self.pooling(query, key, value)
        found: Tensor = self.output(mixed.transpose(1, 2).flatten(1))
        return found


class ImageTower(nn.Module):
    """The modified ResNet."""

    def __init__(self, config: ClipResnetConfig) -> None:
        """Random weights; see `ClipResnet`."""
        super().__init__()
        half = config.width // 2
        self.stem = nn.ModuleList(
            [ConvUnit(3, half, 3, 2), ConvUnit(half, half, 3), ConvUnit(half, config.width, 3)]
        )
        blocks: list[nn.Module] = []
        inputs = config.width
        for stage, depth in enumerate(config.depths):
            width = config.width << stage
            for index in range(depth):
                blocks.append(Bottleneck(inputs, width, 2 if stage and not index else 1))
                inputs = width * _EXPANSION
        self.blocks = nn.Sequential(*blocks)
        side = config.image_size >> (len(config.depths) + 1)
        self.pool = AttentionPool(inputs, config.heads, side**2, config.projection_dim)

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> `embeds` (B, D)."""
        maps = pixel_values
        for layer in self.stem:
            maps = layer(maps).relu()
        maps = self.blocks(functional.avg_pool2d(maps, 2))
        return {"embeds": unit(self.pool(maps))}


class ClipResnet(nn.Module):
    """Both towers; `export.zoo.clip_towers.TextTower` runs the text's."""

    def __init__(self, config: ClipResnetConfig) -> None:
        """Random weights, as the authors draw them, from torch's global seed."""
        super().__init__()
        self.visual = ImageTower(config)
        settings = CLIPTextConfig(**config.text_config)
        self.text_model = CLIPTextModel(settings)
        self.text_projection = nn.Linear(settings.hidden_size, config.projection_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        nn.init.normal_(self.text_projection.weight, std=settings.hidden_size**-0.5)
        pool = self.visual.pool
        for linear in (pool.query, pool.key, pool.value, pool.output):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
        for block in self.visual.blocks:
            assert isinstance(block, Bottleneck)
            # A block begins as its shortcut.
            nn.init.zeros_(block.expand.norm.weight)  # type: ignore[arg-type]


def _image_tower(model: nn.Module) -> nn.Module:
    assert isinstance(model, ClipResnet)
    return model.visual


def use_clip_resnet_operators(model: nn.Module) -> None:
    """Fused attention and folded batch norms in either tower, in eval mode, in place."""
    use_operators_in_towers(model)
    fuse_mixes(model)
    for child in model.modules():
        if isinstance(child, ConvUnit):
            child.fold()


FAMILY = Family(
    reference=OwnModule(ClipResnetConfig, ClipResnet),
    outputs=("embeds",),
    ragged=False,
    use_operators=use_clip_resnet_operators,
    conventions=OPENAI_RESNET,
    main=_image_tower,
    parts={"text": TEXT},
)
