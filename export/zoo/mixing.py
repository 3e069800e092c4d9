"""Attention's product with the values as a module of its own, so that an export can replace it."""

from __future__ import annotations

from torch import Tensor, nn

from export.attention import fused_attention


class Mix(nn.Module):
    """softmax(q kᵀ / √D + bias) v of (B, heads, N, D) (Vaswani et al. 2017, equation 1)."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """Keys and values may be of other tokens than queries; None is no bias."""
        scores: Tensor = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)
        if bias is not None:
            scores = scores + bias
        return scores.softmax(dim=-1) @ value


class _FusedMix(nn.Module):
    """The same as one `FusedAttention`."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        mixed: Tensor = fused_attention(query, key, value, bias, query.shape[-1] ** -0.5)
        return mixed


def fuse_mixes(model: nn.Module) -> None:
    """Replaces every `Mix` within a module by the operator, in place."""
    for name, child in model.named_children():
        if isinstance(child, Mix):
            setattr(model, name, _FusedMix())
        else:
            fuse_mixes(child)
