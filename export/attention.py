"""The two attention operators as PyTorch custom operators.

They run eagerly like any function, and `torch.export` keeps each as one node, which
`export.to_onnx` turns into one node of the ONNX domain `vitrine`.
"""

from __future__ import annotations

import torch
from torch import Tensor

HIDDEN = -1e4
"""Added to the score of what must not be seen: nothing is left of it, in float16 either."""
# Swin's own additive mask value: large against any score, small enough for float16.
MASKED = -100.0


@torch.library.custom_op("vitrine::fused_attention", mutates_args=())
def fused_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float
) -> Tensor:
    """softmax(scale * q @ k.T + bias) @ v (Vaswani et al. 2017, equation 1).

    Args:
        query: (B, H, Nq, D).
        key: (B, H, Nk, D).
        value: (B, H, Nk, Dv).
        bias: None, or broadcastable to (B, H, Nq, Nk); added to the scaled scores.
        scale: factor of the scores, usually D ** -0.5.

    Returns:
        (B, H, Nq, Dv), the dtype of `query`.
    """
    scores = (query * scale) @ key.transpose(-2, -1)
    if bias is not None:
        scores = scores + bias
    return scores.softmax(dim=-1) @ value


@fused_attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    return query.new_empty((*query.shape[:-1], value.shape[-1]))


@torch.library.custom_op("vitrine::window_attention", mutates_args=())
def window_attention(
    qkv: Tensor, bias: Tensor, window: int, shift: int, heads: int, scale: float
) -> Tensor:
    """Shifted-window attention on a feature map (Liu et al. 2021, section 3.2).

    Rolls the map by `-shift`, cuts it into window x window tiles, attends within each tile
    (tokens that were not neighbours before the roll do not see each other), and puts
    everything back where it was.

    Args:
        qkv: (B, Hh, Ww, 3C), queries, keys and values concatenated; Hh and Ww are
            multiples of `window`.
        bias: (heads, window**2, window**2), the relative-position bias.
        window: side of a window, in tokens.
        shift: cyclic shift in tokens, 0 for none.
        heads: attention heads; C is a multiple of it.
        scale: factor of the scores.

    Returns:
        (B, Hh, Ww, C).
    """
    batch, height, width, channels = qkv.shape
    rolled = torch.roll(qkv, (-shift, -shift), (1, 2)) if shift else qkv
    tiles = rolled.reshape(batch, height // window, window, width // window, window, 3, heads, -1)
    # (3, B, tiles, heads, tokens, head size)
    tiles = tiles.permute(5, 0, 1, 3, 6, 2, 4, 7).flatten(5, 6).flatten(2, 3)
    query, key, value = tiles.unbind(0)
    scores = (query * scale) @ key.transpose(-2, -1) + bias
    if shift:
        scores = scores + shift_mask(height, width, window, shift, qkv)[:, None]
    mixed = scores.softmax(dim=-1) @ value
    mixed = mixed.reshape(batch, height // window, width // window, heads, window, window, -1)
    mixed = mixed.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, height, width, channels // 3)
    return torch.roll(mixed, (shift, shift), (1, 2)) if shift else mixed


@window_attention.register_fake
def _(qkv: Tensor, bias: Tensor, window: int, shift: int, heads: int, scale: float) -> Tensor:
    return qkv.new_empty((*qkv.shape[:-1], qkv.shape[-1] // 3))


def shift_mask(height: int, width: int, window: int, shift: int, like: Tensor) -> Tensor:
    """Additive mask of shifted windows: (tiles, window**2, window**2), 0 or `MASKED`.

    After the roll the last `window` rows hold two bands that are not neighbours in the
    image, split `shift` rows before the end; columns likewise (Liu et al. 2021, figure 4).
    """

    def band(size: int) -> Tensor:
        index = torch.arange(size, device=like.device)
        return (index >= size - window).long() + (index >= size - shift).long()

    region = band(height)[:, None] * 3 + band(width)[None, :]
    region = region.reshape(height // window, window, width // window, window)
    region = region.transpose(1, 2).reshape(-1, window * window)
    apart = region[:, :, None] != region[:, None, :]
    return apart.to(like.dtype) * MASKED
