"""TransPose's encoder (Yang et al. 2021, arXiv:2012.14214, section 3.1) and its positions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from export.zoo.mixing import Mix


class EncoderLayer(nn.Module):
    """Attention and an MLP, each normalised after its residual sum (Vaswani et al. 2017)."""

    def __init__(self, width: int, feedforward: int, heads: int) -> None:
        """Width of a token, a multiple of `heads`, and the MLP's hidden width."""
        super().__init__()
        self.attention = _SelfAttention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, width), (N, width) -> (B, N, width), and the attention's queries and keys."""
        mixed, queries, keys = self.attention(tokens, position)
        tokens = self.norm1(tokens + mixed)
        tokens = self.norm2(tokens + self.linear2(self.linear1(tokens).relu()))
        return tokens, queries, keys


class _SelfAttention(nn.Module):
    """Multi-head self-attention; positions join queries and keys only."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.o_proj = nn.Linear(width, width)
        self.mix = Mix()
        for projection in (self.q_proj, self.k_proj, self.v_proj):
            # As one stacked projection would be drawn (torch's MultiheadAttention).
            nn.init.xavier_uniform_(projection.weight, gain=2**-0.5)
            nn.init.zeros_(projection.bias)
        nn.init.zeros_(self.o_proj.bias)

    def forward(self, tokens: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, width), (N, width) -> (B, N, width); queries and keys (B, heads, N, size)."""
        placed = tokens + position
        queries, keys, values = (
            projected.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projected in (self.q_proj(placed), self.k_proj(placed), self.v_proj(tokens))
        )
        mixed = self.mix(queries, keys, values)
        return self.o_proj(mixed.transpose(1, 2).flatten(2)), queries, keys


def sine_positions(height: int, width: int, channels: int) -> Tensor:
    """2D sine position embedding (height * width, channels), rows in the first half of channels.

    Coordinates 1 ... n are scaled to 2π at the last; sines and cosines alternate, at wavelengths
    from 2π to 10000 · 2π (Carion et al. 2020, arXiv:2005.12872, appendix A.4).
    """
    half = channels // 2
    rates = 10_000.0 ** -(torch.arange(half) // 2 * 2 / half)

    def waves(length: int) -> Tensor:
        places = torch.arange(1, length + 1) / (length + 1e-6) * 2 * math.pi
        angles = places[:, None] * rates
        return torch.where(torch.arange(half) % 2 == 0, angles.sin(), angles.cos())

    rows = waves(height)[:, None].expand(height, width, half)
    columns = waves(width)[None].expand(height, width, half)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)
