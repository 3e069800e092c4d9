"""IPT, the image processing transformer (Chen et al. 2021): one body, a head and tail a task.

Where the paper leaves something open (kernels of the residual blocks, no norm on the encoder's
output, a residual connection around the whole body), it is as in the authors' release,
github.com/huawei-noah/Pretrained-IPT.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.zoo.family import Convention, Family, StateDict, rename, split_qkv
from export.zoo.ipt_layers import DecoderLayer, EncoderLayer, FeedForward
from export.zoo.mixing import fuse_mixes
from export.zoo.reference import OwnModule

SCALES = {"denoise30": 1, "denoise50": 1, "derain": 1, "x2": 2, "x3": 3, "x4": 4}
"""What can be restored (section 4, "Datasets"), and by how much the sides of the image grow."""
_MEAN = (0.4488, 0.4371, 0.4040)  # of the training images in 0..1, as in the authors' release
_KERNEL, _BLOCK_KERNEL = 3, 5


@dataclass(frozen=True)
class Config:
    """The sizes of an IPT; the defaults are the paper's.

    Attributes:
        task: what is restored, one of `tasks`: its head, its tail and its embedding are used.
        tasks: of which there are weights, in their order in the file.
        image_size: side of the feature maps in pixels, which are the image's.
        patch_size: side P of a patch of the feature map, in pixels.
        features: C, channels of the feature map; the transformer is P * P * C wide.
        layers: of the encoder, and as many of the decoder.
        heads: of every attention.
        mlp_ratio: hidden width of the feed-forward networks, in widths of the transformer.
        pixel_range: what the model calls white.

    Raises:
        ValueError: sizes that do not fit each other, or a task that is not known.
    """

    task: str
    tasks: tuple[str, ...] = ("denoise30", "denoise50", "x2", "x3", "x4", "derain")
    image_size: int = 48
    patch_size: int = 3
    features: int = 64
    layers: int = 12
    heads: int = 12
    mlp_ratio: int = 4
    pixel_range: float = 255.0

    def __post_init__(self) -> None:
        """Check the sizes."""
        unknown = [task for task in self.tasks if task not in SCALES]
        if unknown or self.task not in self.tasks:
            wrong = (unknown or [self.task])[0]
            known = ", ".join(SCALES if unknown else self.tasks)
            raise ValueError(f"IPT has no task {wrong!r}; use one of {known}")
        if self.image_size % self.patch_size or self.width % self.heads:
            raise ValueError(
                f"IPT with image_size {self.image_size}, patch_size {self.patch_size} and "
                f"{self.heads} heads on width {self.width}: expected whole patches, and as much "
                "width for every head"
            )

    @property
    def width(self) -> int:
        """Of the transformer: the values of one patch."""
        return self.features * self.patch_size**2

    @property
    def tokens(self) -> int:
        """Patches of a feature map."""
        return (self.image_size // self.patch_size) ** 2


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x)))."""

    def __init__(self, features: int) -> None:
        """Both convolutions keep the number of channels."""
        super().__init__()
        self.conv1, self.conv2 = (_conv(features, features, _BLOCK_KERNEL) for _ in range(2))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return maps + self.conv2(functional.relu(self.conv1(maps)))  # type: ignore[no-any-return]


class Ipt(nn.Module):
    """Restores tiles by the head, tail and embedding of one task; it has those of all."""

    mean: Tensor

    def __init__(self, config: Config) -> None:
        """Random weights, from torch's global seed."""
        super().__init__()
        self.config = config
        width, hidden = config.width, config.width * config.mlp_ratio
        sizes = width, config.heads, hidden
        self.heads = nn.ModuleList(_head(config.features) for _ in config.tasks)
        self.tails = nn.ModuleList(_tail(config.features, SCALES[t]) for t in config.tasks)
        self.linear_encoding = nn.Linear(width, width)
        places = config.tokens, width
        self.position_embedding = nn.Parameter(0.02 * torch.randn(places))
        self.task_embedding = nn.Parameter(0.02 * torch.randn(len(config.tasks), *places))
        self.encoder = nn.ModuleList(EncoderLayer(*sizes) for _ in range(config.layers))
        self.decoder = nn.ModuleList(DecoderLayer(*sizes) for _ in range(config.layers))
        self.mlp_head = FeedForward(width, hidden)
        self.register_buffer("mean", torch.tensor(_MEAN).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """Tiles (B, 3, S, S) in 0..1 -> `restored` (B, 3, scale * S, scale * S), about 0..1."""
        return {"restored": self.restore(pixel_values, self.config.task)}

    def restore(self, tiles: Tensor, task: str) -> Tensor:
        """As `forward`, of any of the tasks."""
        index, white = self.config.tasks.index(task), self.config.pixel_range
        maps = self.heads[index]((tiles - self.mean) * white)
        maps = maps + self._body(maps, self.task_embedding[index])
        return self.tails[index](maps) / white + self.mean  # type: ignore[no-any-return]

    def _body(self, maps: Tensor, task: Tensor) -> Tensor:
        """Feature maps (B, C, S, S) through encoder and decoder (sections 3.1)."""
        patches = _patches(maps, self.config.patch_size)
        tokens = patches + self.linear_encoding(patches) + self.position_embedding
        for layer in self.encoder:
            tokens = layer(tokens)
        memory = tokens
        for layer in self.decoder:
            tokens = layer(tokens, memory, task)
        return _maps(tokens + self.mlp_head(tokens), self.config.patch_size)


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)


def _head(features: int) -> nn.Sequential:
    """From colours to features: a convolution and two residual blocks."""
    blocks = [ResidualBlock(features) for _ in range(2)]
    return nn.Sequential(_conv(3, features, _KERNEL), *blocks)


def _tail(features: int, scale: int) -> nn.Sequential:
    """From features to colours, growing by pixel shuffles: x4 is twice x2."""
    growing: list[nn.Module] = []
    for factor in {1: (), 2: (2,), 3: (3,), 4: (2, 2)}[scale]:
        growing += [_conv(features, features * factor**2, _KERNEL), nn.PixelShuffle(factor)]
    return nn.Sequential(nn.Sequential(*growing), _conv(features, 3, _KERNEL))


def _patches(maps: Tensor, side: int) -> Tensor:
    """(B, C, H, W) -> (B, patches row by row, C * side * side)."""
    _, channels, height, width = maps.shape
    cut = maps.reshape(-1, channels, height // side, side, width // side, side)
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def _maps(patches: Tensor, side: int) -> Tensor:
    """The inverse of `_patches`, of square maps."""
    grid = math.isqrt(patches.shape[1])
    cut = patches.reshape(-1, grid, grid, patches.shape[2] // side**2, side, side)
    return cut.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


_TOP = {
    "head": "heads",
    "tail": "tails",
    "body.encoder.layers": "encoder",
    "body.decoder.layers": "decoder",
    "body.linear_encoding": "linear_encoding",
    "body.mlp_head.0": "mlp_head.0",
    "body.mlp_head.3": "mlp_head.2",  # there are dropouts between
    "body.position_encoding.pe.weight": "position_embedding",
    "body.query_embed.weight": "task_embedding",
}
_LAYER = {
    "multihead_attn": "cross_attn",
    "linear1": "mlp.0",
    "linear2": "mlp.2",
}


def _from_authors(state: Mapping[str, Tensor]) -> StateDict:
    converted: StateDict = {}
    for name, tensor in state.items():
        renamed = rename(name, _TOP)
        if name.startswith(("sub_mean.", "add_mean.")):
            continue  # the constants that `Ipt.restore` subtracts and adds
        if block := re.fullmatch(r"(heads\.\d+\.\d)\.body\.([02])\.(\w+)", renamed):
            renamed = f"{block[1]}.conv{int(block[2]) // 2 + 1}.{block[3]}"
        elif layer := re.match(r"(encoder|decoder)\.\d+\.", renamed):
            rest = rename(renamed[layer.end() :], _LAYER).replace("out_proj", "o_proj")
            renamed = layer[0] + rest
        if renamed.endswith("in_proj_weight"):
            attention = renamed.removesuffix("in_proj_weight")
            targets = (f"{attention}q_proj", f"{attention}k_proj", f"{attention}v_proj")
            converted |= split_qkv("in_proj.weight", tensor, targets)
        else:
            converted[renamed] = tensor
    if "task_embedding" in converted and "position_embedding" in converted:
        places = converted["position_embedding"].shape
        converted["task_embedding"] = converted["task_embedding"].reshape(-1, *places)
    return converted


FAMILY = Family(
    reference=OwnModule(Config, Ipt),
    outputs=("restored",),
    ragged=False,
    use_operators=fuse_mixes,
    conventions=(
        Convention("Pretrained-IPT", "body.encoder.layers.0.linear1.weight", _from_authors),
    ),
)
