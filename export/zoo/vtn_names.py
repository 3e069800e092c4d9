"""The tensor names of the authors' weights (github.com/bomri/SlowFast): timm's ViT in a Longformer
of `transformers`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from export.zoo.family import Convention, StateDict, rename
from export.zoo.vit import from_timm

_TEMPORAL = {
    "cls_token": "temporal.class_token",
    "temporal_encoder.embeddings": "temporal",
    "temporal_encoder.embeddings.LayerNorm": "temporal.norm",
    "mlp_head.0": "temporal.head_norm",
    "mlp_head.1": "temporal.head_expand",
    "mlp_head.4": "temporal.classifier",  # after an activation and a dropout
}
_LAYER = {
    "attention.self": "attention",
    "attention.output.dense": "attention.output",
    "attention.output.LayerNorm": "norm_attention",
    "intermediate.dense": "expand",
    "output.dense": "contract",
    "output.LayerNorm": "norm_output",
}
_BACKBONE = "backbone."


def _converted(state: Mapping[str, Tensor]) -> StateDict:
    """The authors' tensors under the reference's names."""
    backbone = {
        name.removeprefix(_BACKBONE): tensor
        for name, tensor in state.items()
        if name.startswith(_BACKBONE)
    }
    found = {f"spatial.{name}": tensor for name, tensor in from_timm(backbone).items()}
    for name, tensor in state.items():
        inside = re.match(r"temporal_encoder\.encoder\.layer\.(\d+)\.", name)
        if inside:
            rest = rename(name[inside.end() :], _LAYER)
            found[f"temporal.layers.{inside[1]}.{rest}"] = tensor
        elif not name.startswith(_BACKBONE):
            found[rename(name, _TEMPORAL)] = tensor
    return found


AUTHORS = Convention(
    "PySlowFast", "temporal_encoder.embeddings.token_type_embeddings.weight", _converted
)
