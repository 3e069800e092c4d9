"""ViT and DeiT (Dosovitskiy et al. 2020; Touvron et al. 2021)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from export.zoo.attention_interface import use_fused_attention
from export.zoo.family import Convention, Family, StateDict, rename, split_qkv
from export.zoo.patches import LinearPatches
from export.zoo.reference import FromTransformers


def use_vit_operators(model: nn.Module) -> None:
    """Fused attention, and patches as a linear layer, in an eval-mode reference, in place."""
    use_fused_attention(model)
    vit: Any = model.vit
    embeddings = vit.embeddings
    embeddings.patch_embeddings = LinearPatches(embeddings.patch_embeddings.projection)


_TIMM = {
    "cls_token": "vit.embeddings.cls_token",
    "pos_embed": "vit.embeddings.position_embeddings",
    "patch_embed.proj": "vit.embeddings.patch_embeddings.projection",
    "norm": "vit.layernorm",
    "head": "classifier",
}
_TORCHVISION = {
    "class_token": "vit.embeddings.cls_token",
    "encoder.pos_embedding": "vit.embeddings.position_embeddings",
    "conv_proj": "vit.embeddings.patch_embeddings.projection",
    "encoder.ln": "vit.layernorm",
    "heads.head": "classifier",
}
_BLOCK = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    # torchvision; `linear_1` and `linear_2` are its names before 0.13
    "ln_1": "layernorm_before",
    "ln_2": "layernorm_after",
    "self_attention.out_proj": "attention.o_proj",
    "mlp.0": "mlp.fc1",
    "mlp.3": "mlp.fc2",
    "mlp.linear_1": "mlp.fc1",
    "mlp.linear_2": "mlp.fc2",
}
_STACKED = re.compile(r"(attn\.qkv\.|self_attention\.in_proj_)(weight|bias)")


def _convert(state: Mapping[str, Tensor], top: dict[str, str], block: str) -> StateDict:
    converted: StateDict = {}
    for name, tensor in state.items():
        inside = re.match(block, name)
        if not inside:
            converted[rename(name, top)] = tensor
            continue
        layer, rest = f"vit.layers.{inside[1]}", name[inside.end() :]
        stacked = _STACKED.fullmatch(rest)
        if stacked:
            targets = (
                f"{layer}.attention.q_proj",
                f"{layer}.attention.k_proj",
                f"{layer}.attention.v_proj",
            )
            converted |= split_qkv(f"qkv.{stacked[2]}", tensor, targets)
        else:
            converted[f"{layer}.{rename(rest, _BLOCK)}"] = tensor
    return converted


def from_timm(state: Mapping[str, Tensor]) -> StateDict:
    """A timm ViT's tensors under the reference's names."""
    return _convert(state, _TIMM, r"blocks\.(\d+)\.")


def _from_torchvision(state: Mapping[str, Tensor]) -> StateDict:
    return _convert(state, _TORCHVISION, r"encoder\.layers\.encoder_layer_(\d+)\.")


FAMILY = Family(
    reference=FromTransformers("vit", "AutoModelForImageClassification"),
    outputs=("logits",),
    ragged=False,
    use_operators=use_vit_operators,
    conventions=(
        Convention("timm", "patch_embed.proj.weight", from_timm),
        Convention("torchvision", "conv_proj.weight", _from_torchvision),
    ),
)
