"""A ViT classifier's weights as the image tower of a CLIP.

The tower is the same but for a norm before its layers, which no ViT has: it is given the spread and
the mean that the ViT's own tokens have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

_LAYER = {
    "layernorm_before": "layer_norm1",
    "layernorm_after": "layer_norm2",
    "attention.q_proj": "self_attn.q_proj",
    "attention.k_proj": "self_attn.k_proj",
    "attention.v_proj": "self_attn.v_proj",
    "attention.o_proj": "self_attn.out_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def tower_of(vit: Mapping[str, Tensor], pixels: Tensor) -> dict[str, Tensor]:
    """The tensors of a CLIP's `vision_model`.

    Args:
        vit: a classifier's weights, as `transformers` names them.
        pixels: preprocessed images (N, 3, H, W), on which the norm's are measured.
    """
    found = {}
    for name, tensor in vit.items():
        inside = re.fullmatch(r"vit\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
        if inside:
            found[f"encoder.layers.{inside[1]}.{_LAYER[inside[2]]}.{inside[3]}"] = tensor
    projection = "vit.embeddings.patch_embeddings.projection"
    kernel, bias = vit[f"{projection}.weight"], vit[f"{projection}.bias"]
    positions = vit["vit.embeddings.position_embeddings"][0].clone()
    positions[1:] += bias  # a CLIP's patches have none
    patches = functional.conv2d(pixels, kernel, stride=kernel.shape[-2:]).flatten(2)
    tokens = patches.transpose(1, 2) + positions[1:]
    found |= {
        "embeddings.class_embedding": vit["vit.embeddings.cls_token"].flatten(),
        "embeddings.patch_embedding.weight": kernel,
        "embeddings.position_embedding.weight": positions,
        "pre_layrnorm.weight": tokens.std(dim=-1).mean().expand(len(bias)),
        "pre_layrnorm.bias": tokens.mean().expand(len(bias)),
        "post_layernorm.weight": vit["vit.layernorm.weight"],
        "post_layernorm.bias": vit["vit.layernorm.bias"],
    }
    return {f"vision_model.{name}": tensor for name, tensor in found.items()}
