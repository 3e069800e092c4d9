"""Transformer layers in which a token sees only what comes before it, and itself.

One forward pass serves training, a whole sequence, and a single token that continues one: keys and
values of earlier tokens, where they are kept, come in as `past`. What may be seen is an additive
bias of the scores, so that a model's own pattern is a bias too.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from export.attention import HIDDEN
from export.zoo.mixing import Mix


class CausalAttention(nn.Module):
    """Multi-head self-attention under a bias."""

    def __init__(self, width: int, heads: int) -> None:
        """Args: width: of tokens, a multiple of `heads`."""
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.mix = Mix()

    def forward(
        self, tokens: Tensor, bias: Tensor, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Attends.

        Args:
            tokens: (B, N, C).
            bias: broadcastable to (B, heads, N, P + N), in the order past, tokens.
            past: (B, 2, heads, P, C / heads), keys and values of earlier tokens.

        Returns:
            (B, N, C), and keys and values of `tokens`, (B, 2, heads, N, C / heads).
        """
        query, key, value = (
            linear(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        new = torch.stack([key, value], dim=1)
        if past is not None:
            key, value = (torch.cat([past[:, n], new[:, n]], dim=2) for n in range(2))
        mixed = self.mix(query, key, value, bias)
        return self.output(mixed.transpose(1, 2).flatten(2)), new


class CausalLayer(nn.Module):
    """Attention and an MLP of four times the width, each after a norm."""

    def __init__(
        self,
        width: int,
        heads: int,
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
        activation: Callable[[Tensor], Tensor] = nn.functional.gelu,
        *,
        residual_of_norm: bool = False,
    ) -> None:
        """Args: norm: makes one of a width; residual_of_norm: attention is added to the norm."""
        super().__init__()
        self.norm_before = norm(width)
        self.attention = CausalAttention(width, heads)
        self.norm_after = norm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.activation = activation
        self.residual_of_norm = residual_of_norm

    def forward(
        self, tokens: Tensor, bias: Tensor, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `CausalAttention`."""
        normed = self.norm_before(tokens)
        attended, new = self.attention(normed, bias, past)
        tokens = (normed if self.residual_of_norm else tokens) + attended
        hidden = self.activation(self.expand(self.norm_after(tokens)))
        return tokens + self.contract(hidden), new


def causal_bias(length: int) -> Tensor:
    """(1, 1, length, length): each token sees itself and what is before it."""
    return torch.full((length, length), HIDDEN).triu(1)[None, None]


def past_bias(position: Tensor, length: int) -> Tensor:
    """Of one token at `position` (B,) behind `length` places: (B, 1, 1, length + 1).

    It sees itself and the places before its position; what the others hold does not matter.
    """
    places = torch.arange(length + 1, device=position.device)
    unseen = (places >= position[:, None]) & (places < length)
    return (unseen * HIDDEN)[:, None, None]
