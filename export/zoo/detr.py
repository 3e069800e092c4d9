"""DETR (Carion et al. 2020) with a ResNet backbone."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from export.zoo.attention_interface import use_fused_attention
from export.zoo.family import Convention, Family, StateDict, rename, split_qkv
from export.zoo.folding import fold_resnet_norms
from export.zoo.reference import FromTransformers
from export.zoo.resnet_names import resnet_name


def use_operators(model: nn.Module) -> None:
    """`FusedAttention` everywhere, and each frozen batch norm folded into its convolution."""
    use_fused_attention(model)
    fold_resnet_norms(model)


_TOP = {
    "transformer.encoder": "model.encoder",
    "transformer.decoder": "model.decoder",
    "transformer.decoder.norm": "model.decoder.layernorm",
    "query_embed": "model.query_position_embeddings",
    "input_proj": "model.input_projection",
    "class_embed": "class_labels_classifier",
    "bbox_embed": "bbox_predictor",
}
_ENCODER = {"norm1": "self_attn_layer_norm", "norm2": "final_layer_norm"}
_DECODER = {
    "norm1": "self_attn_layer_norm",
    "norm2": "encoder_attn_layer_norm",
    "norm3": "final_layer_norm",
    "multihead_attn": "encoder_attn",
}
_BACKBONE = "model.backbone.model."


def _layer(kind: str, rest: str, tensor: Tensor, layer: str) -> StateDict:
    rest = rename(rest, _ENCODER if kind == "encoder" else _DECODER)
    rest = re.sub(r"^linear([12])\.", r"mlp.fc\1.", rest).replace("out_proj", "o_proj")
    stacked = re.fullmatch(r"(\w+)\.in_proj_(weight|bias)", rest)
    if not stacked:
        return {f"{layer}.{rest}": tensor}
    targets = tuple(f"{layer}.{stacked[1]}.{p}_proj" for p in "qkv")
    return split_qkv(f"in_proj.{stacked[2]}", tensor, (targets[0], targets[1], targets[2]))


def _from_authors(state: Mapping[str, Tensor]) -> StateDict:
    converted: StateDict = {}
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        if inside := re.match(r"transformer\.(encoder|decoder)\.layers\.(\d+)\.", name):
            layer = f"model.{inside[1]}.layers.{inside[2]}"
            converted |= _layer(inside[1], name[inside.end() :], tensor, layer)
        elif name.startswith("backbone.0.body."):
            converted[resnet_name(name.removeprefix("backbone.0.body."), _BACKBONE)] = tensor
        else:
            converted[rename(name, _TOP)] = tensor
    return converted


def _from_hub(state: Mapping[str, Tensor]) -> StateDict:
    # Published Hugging Face checkpoints of DETR carry timm's backbone under their own prefix.
    converted: StateDict = {}
    for name, tensor in state.items():
        inside = re.match(r"model\.backbone\.conv_encoder\.model\.(_backbone\.)?", name)
        if name.endswith("num_batches_tracked"):
            continue
        converted[resnet_name(name[inside.end() :], _BACKBONE) if inside else name] = tensor
    return converted


FAMILY = Family(
    reference=FromTransformers("detr", "AutoModelForObjectDetection"),
    outputs=("logits", "pred_boxes"),
    ragged=True,
    use_operators=use_operators,
    conventions=(
        Convention("torchvision", "backbone.0.body.conv1.weight", _from_authors),
        Convention("timm", "model.backbone.conv_encoder.model.conv1.weight", _from_hub),
    ),
)
