"""A ViT classifier's weights as the encoder of a SETR with smaller patches.

SETR's encoder starts from a pretrained ViT (Zheng et al. 2021, section 4.1). Here its patches are
also cut in two: the encoder sees each patch as the ViT would see it enlarged, and positions are
interpolated. Both are bilinear, so exact: a linear layer on an enlarged patch is one on the patch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

VIT = "vit.embeddings.cls_token"
"""A tensor that only a ViT's weights have."""
_LAYER = {
    "layernorm_before": "norm_before",
    "attention.q_proj": "attention.query",
    "attention.k_proj": "attention.key",
    "attention.v_proj": "attention.value",
    "attention.o_proj": "attention.output",
    "layernorm_after": "norm_after",
    "mlp.fc1": "expand",
    "mlp.fc2": "contract",
}


def encoder_of(vit: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a SETR's encoder.

    Args:
        vit: a classifier's weights, as `transformers` names them.
        own: the SETR's, whose sizes of patch and grid are taken.
    """
    found = {}
    for name, tensor in vit.items():
        inside = re.fullmatch(r"vit\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
        if inside:
            found[f"layers.{inside[1]}.{_LAYER[inside[2]]}.{inside[3]}"] = tensor
    patch = "vit.embeddings.patch_embeddings.projection"
    found["patches.projection.bias"] = vit[f"{patch}.bias"]
    kernel = "patches.projection.weight"
    found[kernel] = _for_enlarged(vit[f"{patch}.weight"], own[kernel].shape[-1])
    for name in own:
        if name.startswith("norms."):
            found[name] = vit[f"vit.layernorm.{name.rpartition('.')[2]}"]
    places = vit["vit.embeddings.position_embeddings"][:, 1:]  # without the class token's
    found["positions"] = _resized(places, own["positions"].shape[1])
    return found


def _for_enlarged(kernel: Tensor, side: int) -> Tensor:
    """(C, 3, s, s) to (C, 3, side, side): what it computes of a patch enlarged to s."""
    pixels = torch.eye(side**2).reshape(side**2, 1, side, side)
    enlarged = functional.interpolate(pixels, kernel.shape[-2:], mode="bilinear").flatten(1)
    return torch.reshape(kernel.flatten(2) @ enlarged.T, (*kernel.shape[:2], side, side))


def _resized(positions: Tensor, count: int) -> Tensor:
    """(1, g², C) of a square grid to (1, count, C) of another."""
    grid, side = round(positions.shape[1] ** 0.5), round(count**0.5)
    maps = positions.transpose(1, 2).reshape(1, -1, grid, grid)
    return functional.interpolate(maps, (side, side), mode="bilinear").flatten(2).transpose(1, 2)
