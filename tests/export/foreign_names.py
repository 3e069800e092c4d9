"""State dicts as other projects publish them, made from a `transformers` one.

The tables go from `transformers` to the other project, and were written from those projects'
module definitions; the converters under test go the other way.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

State = dict[str, Tensor]
Table = dict[str, str]

# `@q`, `@k` and `@v` are stacked afterwards.
_VIT_BLOCK_TIMM: Table = {
    r"vit\.layers\.(\d+)\.": r"blocks.\1.",
    r"layernorm_before": "norm1",
    r"layernorm_after": "norm2",
    r"attention\.([qkv])_proj\.": r"attn.@\1.",
    r"attention\.o_proj": "attn.proj",
}
VIT_TIMM: Table = {
    r"^vit\.embeddings\.cls_token$": "cls_token",
    r"^vit\.embeddings\.position_embeddings$": "pos_embed",
    r"^vit\.embeddings\.patch_embeddings\.projection": "patch_embed.proj",
    r"^vit\.layernorm\.": "norm.",
    r"^classifier": "head",
    **_VIT_BLOCK_TIMM,
}
VIT_TORCHVISION: Table = {
    r"^vit\.embeddings\.cls_token$": "class_token",
    r"^vit\.embeddings\.position_embeddings$": "encoder.pos_embedding",
    r"^vit\.embeddings\.patch_embeddings\.projection": "conv_proj",
    r"^vit\.layernorm\.": "encoder.ln.",
    r"^classifier": "heads.head",
    r"vit\.layers\.(\d+)\.": r"encoder.layers.encoder_layer_\1.",
    r"layernorm_before": "ln_1",
    r"layernorm_after": "ln_2",
    r"attention\.([qkv])_proj\.": r"self_attention.@\1.",
    r"attention\.o_proj": "self_attention.out_proj",
    r"mlp\.fc1": "mlp.0",
    r"mlp\.fc2": "mlp.3",
}
VIT_TORCHVISION_012 = {
    **VIT_TORCHVISION,
    r"mlp\.fc1": "mlp.linear_1",
    r"mlp\.fc2": "mlp.linear_2",
}
VIT_TRANSFORMERS_4: Table = {
    r"vit\.layers\.": "vit.encoder.layer.",
    r"attention\.q_proj": "attention.attention.query",
    r"attention\.k_proj": "attention.attention.key",
    r"attention\.v_proj": "attention.attention.value",
    r"attention\.o_proj": "attention.output.dense",
    r"mlp\.fc1": "intermediate.dense",
    r"mlp\.fc2": "output.dense",
}

_SWIN_BLOCK: Table = {
    r"layernorm_before": "norm1",
    r"layernorm_after": "norm2",
    r"attention\.([qkv])_proj\.": r"attn.@\1.",
    r"attention\.o_proj": "attn.proj",
    r"attention\.relative_position_bias\.": "attn.",
}
SWIN_AUTHORS: Table = {
    r"^swin\.embeddings\.patch_embeddings\.projection": "patch_embed.proj",
    r"^swin\.embeddings\.norm": "patch_embed.norm",
    r"^swin\.encoder\.layers": "layers",
    r"^swin\.layernorm": "norm",
    r"^classifier": "head",
    **_SWIN_BLOCK,
}
SWIN_TIMM: Table = {
    **SWIN_AUTHORS,
    # The merging moved to the head of the next stage.
    r"^layers\.0\.downsample": "layers.1.downsample",
    r"^head": "head.fc",
}
SWIN_TORCHVISION: Table = {
    r"^swin\.embeddings\.patch_embeddings\.projection": "features.0.0",
    r"^swin\.embeddings\.norm": "features.0.2",
    r"^swin\.encoder\.layers\.0\.blocks": "features.1",
    r"^swin\.encoder\.layers\.0\.downsample": "features.2",
    r"^swin\.encoder\.layers\.1\.blocks": "features.3",
    r"^swin\.layernorm": "norm",
    r"^classifier": "head",
    r"mlp\.fc1": "mlp.0",
    r"mlp\.fc2": "mlp.3",
    **_SWIN_BLOCK,
}
SWIN_TRANSFORMERS_4: Table = {
    r"attention\.q_proj": "attention.self.query",
    r"attention\.k_proj": "attention.self.key",
    r"attention\.v_proj": "attention.self.value",
    r"attention\.relative_position_bias\.": "attention.self.",
    r"attention\.o_proj": "attention.output.dense",
    r"mlp\.fc1": "intermediate.dense",
    r"mlp\.fc2": "output.dense",
}

_RESNET: Table = {
    r"embedder\.embedder\.convolution": "conv1",
    r"embedder\.embedder\.normalization": "bn1",
    r"encoder\.stages\.0\.layers": "layer1",
    r"encoder\.stages\.1\.layers": "layer2",
    r"layer\.0\.convolution": "conv1",
    r"layer\.0\.normalization": "bn1",
    r"layer\.1\.convolution": "conv2",
    r"layer\.1\.normalization": "bn2",
    r"layer\.2\.convolution": "conv3",
    r"layer\.2\.normalization": "bn3",
    r"shortcut\.convolution": "downsample.0",
    r"shortcut\.normalization": "downsample.1",
}
# Whose names timm has too.
RESNET_TORCHVISION: Table = {r"^resnet\.": "", **_RESNET, r"^classifier\.1": "fc"}
DETR_AUTHORS: Table = {
    r"^model\.backbone\.model\.": "backbone.0.body.",
    r"^model\.(encoder|decoder)\.layers": r"transformer.\1.layers",
    r"^model\.decoder\.layernorm": "transformer.decoder.norm",
    r"^model\.query_position_embeddings": "query_embed",
    r"^model\.input_projection": "input_proj",
    r"^class_labels_classifier": "class_embed",
    r"^bbox_predictor": "bbox_embed",
    r"self_attn_layer_norm": "norm1",
    r"encoder_attn_layer_norm": "norm2",
    r"(transformer\.encoder.*)final_layer_norm": r"\1norm2",
    r"(transformer\.decoder.*)final_layer_norm": r"\1norm3",
    r"encoder_attn": "multihead_attn",
    r"attn\.([qkv])_proj\.": r"attn.@\1.",
    r"o_proj": "out_proj",
    r"mlp\.fc": "linear",
    **_RESNET,
}
_DETR_TRANSFORMERS_4: Table = {
    r"^model\.backbone\.": "model.backbone.conv_encoder.",
    r"o_proj": "out_proj",
    r"mlp\.fc": "fc",
}
DETR_HUB_WITHOUT_TIMM = _DETR_TRANSFORMERS_4
DETR_HUB_WITH_TIMM: Table = {**_DETR_TRANSFORMERS_4, **_RESNET}


def renamed(state: State, table: Table, stacked: str = "qkv.") -> State:
    """A state dict under another project's names.

    Args:
        stacked: what the joint projection of queries, keys and values is called.
    """
    foreign: State = {}
    for name, tensor in state.items():
        for pattern, replacement in table.items():
            name = re.sub(pattern, replacement, name)
        foreign[name] = tensor
    for name in [name for name in foreign if "@q." in name]:
        parts = [foreign.pop(name.replace("@q.", f"@{part}.")) for part in "qkv"]
        foreign[name.replace("@q.", stacked)] = torch.cat(parts)
    return foreign
