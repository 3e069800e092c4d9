"""SETR (Zheng et al. 2021, arXiv:2012.15840): segmentation as a sequence of patches to classes.

A ViT encodes the image's patches (section 3.2), all at one resolution; one of three decoders makes
class logits of its features. As in the paper's text the sequence has no class token. The graph's
`logits` (batch, classes, h, w) have the resolution that the decoder reaches before its last
bilinear enlargement, which the runtime does at the frame's own size; see `setr_decoders`. At full
size a golden probe then holds 0.6 to 39 MB, not 157.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.zoo.family import Family
from export.zoo.mixing import Mix, fuse_mixes
from export.zoo.patches import LinearPatches
from export.zoo.reference import OwnModule
from export.zoo.setr_config import SetrConfig
from export.zoo.setr_decoders import DECODERS, ConvUnit


class SelfAttention(nn.Module):
    """Multi-head self-attention (equation 2)."""

    def __init__(self, width: int, heads: int) -> None:
        """Args: width: of tokens, a multiple of `heads`."""
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.mix = Mix()

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        query, key, value = (
            linear(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        mixed = self.mix(query, key, value)
        found: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return found


class Layer(nn.Module):
    """A transformer layer, norms first (equation 3)."""

    def __init__(self, config: SetrConfig) -> None:
        """Args: config: of the model."""
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.norm_before = nn.LayerNorm(width, eps)
        self.attention = SelfAttention(width, config.num_attention_heads)
        self.norm_after = nn.LayerNorm(width, eps)
        self.expand = nn.Linear(width, config.intermediate_size)
        self.contract = nn.Linear(config.intermediate_size, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        tokens = tokens + self.attention(self.norm_before(tokens))
        hidden = functional.gelu(self.expand(self.norm_after(tokens)))
        found: Tensor = tokens + self.contract(hidden)
        return found


class ConvPatches(nn.Module):
    """Patches to tokens by a convolution, (B, 3, H, W) -> (B, N, C), row by row."""

    def __init__(self, config: SetrConfig) -> None:
        """Args: config: of the model."""
        super().__init__()
        side = config.patch_size
        self.projection = nn.Conv2d(3, config.hidden_size, side, stride=side)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Of an image of whole patches."""
        tokens: Tensor = self.projection(pixel_values).flatten(2).transpose(1, 2)
        return tokens


class Setr(nn.Module):
    """Encoder and decoder."""

    def __init__(self, config: SetrConfig) -> None:
        """Random weights, from torch's global seed."""
        super().__init__()
        self.grid = config.image_size // config.patch_size
        self.patches: nn.Module = ConvPatches(config)
        self.positions = nn.Parameter(torch.zeros(1, self.grid**2, config.hidden_size))
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.decoder: nn.Module = DECODERS[config.decoder](config)
        self._read: tuple[int, ...] = self.decoder.layers
        self.norms = nn.ModuleList(
            nn.LayerNorm(config.hidden_size, config.layer_norm_eps) for _ in self._read
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=config.initializer_range)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.positions, std=config.initializer_range)

    def features(self, pixel_values: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> the normalised maps (B, C, h, w) that the decoder reads."""
        tokens = self.patches(pixel_values) + self.positions
        states = []
        for number, layer in enumerate(self.layers, start=1):
            tokens = layer(tokens)
            if number in self._read:
                states.append(tokens)
        return [
            norm(state).transpose(1, 2).unflatten(2, (self.grid, self.grid))
            for norm, state in zip(self.norms, states, strict=True)
        ]

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> `logits` (B, classes, h, w) before their enlargement to the image."""
        return {"logits": self.decoder(self.features(pixel_values))}


def use_operators(model: nn.Module) -> None:
    """Fused attention, patches as a linear layer, batch norms folded; eval mode, in place."""
    fuse_mixes(model)
    for module in model.modules():
        if isinstance(module, ConvUnit):
            module.fold()
    assert isinstance(model, Setr) and isinstance(model.patches, ConvPatches)
    model.patches = LinearPatches(model.patches.projection)


FAMILY = Family(
    reference=OwnModule(SetrConfig, Setr),
    outputs=("logits",),
    ragged=False,
    use_operators=use_operators,
)
