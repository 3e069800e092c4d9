"""`FusedAttention` as an attention implementation of `transformers`.

Families whose modules look their attention function up by name (ViT, DETR and most others)
get the operator by setting `config._attn_implementation`; nothing is patched.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from export.attention import HIDDEN, fused_attention

NAME = "vitrine"


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    mixed = fused_attention(query, key, value, attention_mask, scale)
    return mixed.transpose(1, 2), None


def _padding_bias(*, attention_mask: Tensor | None, dtype: torch.dtype, **_: Any) -> Tensor | None:
    """(B, Nk) mask, non-zero where there is an image, as an additive bias (B, 1, 1, Nk)."""
    if attention_mask is None:
        return None
    return (1.0 - attention_mask.to(dtype))[:, None, None, :] * HIDDEN


def use_fused_attention(model: nn.Module) -> None:
    """Makes every attention of a `transformers` model call `FusedAttention`, in place."""
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, _padding_bias)
    assert isinstance(model, PreTrainedModel)
    model.set_attn_implementation(NAME)
