"""Longformer's attention and layer (Beltagy et al. 2020, arXiv:2004.05150), as VTN uses them.

The first token is the class token; it is global: it attends to all tokens and all attend to it.
The others are frames, which attend to it and to the frames of a window around them (section 3.1).
What is local and what is global has projections of its own (section 3.1, "Linear Projections").
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.attention import HIDDEN, fused_attention
from export.zoo.mixing import Mix
from export.zoo.vtn_config import VtnConfig


class BandMix(nn.Module):
    """Attention of T frames to the class token and to those of a window, without any others."""

    outside: Tensor

    def __init__(self, window: int, frames: int) -> None:
        """Args: window: even, half of it on each side; frames: T."""
        super().__init__()
        self.reach, self.frames = window // 2, frames
        neighbours = torch.arange(frames)[:, None] + torch.arange(-self.reach, self.reach + 1)
        self.register_buffer("outside", (neighbours < 0) | (neighbours >= frames), persistent=False)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Queries (B, H, T, D), keys and values (B, H, 1 + T, D), the class token's first."""
        query = query * query.shape[-1] ** -0.5
        to_class = query @ key[:, :, :1].transpose(-2, -1)
        to_frames = torch.einsum("bhtd,bhtdw->bhtw", query, self._windows(key))
        to_frames = to_frames.masked_fill(self.outside, float("-inf"))
        weights = torch.cat((to_class, to_frames), dim=-1).softmax(dim=-1)
        of_class, of_frames = weights[..., :1], weights[..., 1:]
        mixed = torch.einsum("bhtw,bhtdw->bhtd", of_frames, self._windows(value))
        return of_class * value[:, :, :1] + mixed

    def _windows(self, tokens: Tensor) -> Tensor:
        """(B, H, 1 + T, D) to the frames around each frame, (B, H, T, D, window + 1)."""
        around = functional.pad(tokens[:, :, 1:], (0, 0, self.reach, self.reach))
        return around.unfold(2, 2 * self.reach + 1, 1)


class FusedBand(nn.Module):
    """The same as one `FusedAttention`: other frames have an additive bias."""

    def __init__(self, band: BandMix) -> None:
        """Args: band: to be replaced; a window that holds the whole clip needs no bias."""
        super().__init__()
        frame = torch.arange(band.frames)
        far = (frame[:, None] - frame).abs() > band.reach
        bias = functional.pad(far.float() * HIDDEN, (1, 0))
        self.register_buffer("bias", bias[None, None] if far.any() else None, persistent=False)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """See `BandMix`."""
        scale = query.shape[-1] ** -0.5
        mixed: Tensor = fused_attention(query, key, value, self.bias, scale)
        return mixed


class LongformerAttention(nn.Module):
    """Multi-head attention with a sliding window and one global token."""

    def __init__(self, config: VtnConfig) -> None:
        """Args: config: of the model."""
        super().__init__()
        width = config.hidden_size
        self.heads = config.temporal_heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.query_global, self.key_global, self.value_global = (
            nn.Linear(width, width) for _ in range(3)
        )
        self.output = nn.Linear(width, width)
        self.band: nn.Module = BandMix(config.attention_window, config.num_frames)
        self.mix = Mix()

    def forward(self, tokens: Tensor, class_only: bool = False) -> Tensor:
        """(B, 1 + T, C) -> (B, 1 + T, C), or (B, 1, C) of the class token only."""
        mixed: Tensor = self.mix(
            self._heads(self.query_global(tokens[:, :1])),
            self._heads(self.key_global(tokens)),
            self._heads(self.value_global(tokens)),
        )
        if not class_only:
            of_frames = self.band(
                self._heads(self.query(tokens[:, 1:])),
                self._heads(self.key(tokens)),
                self._heads(self.value(tokens)),
            )
            mixed = torch.cat((mixed, of_frames), dim=2)
        found: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return found

    def _heads(self, tokens: Tensor) -> Tensor:
        """(B, N, C) -> (B, heads, N, D)."""
        return tokens.reshape(*tokens.shape[:2], self.heads, -1).transpose(1, 2)


class LongformerLayer(nn.Module):
    """Attention and an MLP, each with a residual sum and then a norm."""

    def __init__(self, config: VtnConfig) -> None:
        """Args: config: of the model."""
        super().__init__()
        width, eps = config.hidden_size, config.temporal_layer_norm_eps
        self.attention = LongformerAttention(config)
        self.norm_attention = nn.LayerNorm(width, eps)
        self.expand = nn.Linear(width, config.temporal_intermediate_size)
        self.contract = nn.Linear(config.temporal_intermediate_size, width)
        self.norm_output = nn.LayerNorm(width, eps)

    def forward(self, tokens: Tensor, class_only: bool = False) -> Tensor:
        """As `LongformerAttention`."""
        read = tokens[:, :1] if class_only else tokens
        tokens = self.norm_attention(read + self.attention(tokens, class_only))
        hidden = self.contract(functional.gelu(self.expand(tokens)))
        found: Tensor = self.norm_output(tokens + hidden)
        return found
