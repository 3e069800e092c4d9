"""CLIP with a ViT (Radford et al. 2021, section 2.4): images and texts as vectors to compare."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.clip.modeling_clip import CLIPVisionEmbeddings

from export.zoo.clip_names import OPENAI
from export.zoo.clip_towers import TEXT, unit, use_operators_in_towers
from export.zoo.family import Family
from export.zoo.patches import LinearPatches
from export.zoo.reference import FromTransformers


class ImageTower(nn.Module):
    """A ViT with one more norm before its layers; its class token stands for the image."""

    def __init__(self, reference: Any) -> None:
        """Shares `vision_model` and `visual_projection` of a `transformers` CLIP."""
        super().__init__()
        self.vision_model: Any = reference.vision_model
        self.visual_projection: nn.Linear = reference.visual_projection

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> `embeds` (B, D)."""
        state = self.vision_model(pixel_values=pixel_values).pooler_output
        return {"embeds": unit(self.visual_projection(state))}


class _Embeddings(nn.Module):
    """`CLIPVisionEmbeddings` with patches as a linear layer."""

    def __init__(self, embeddings: CLIPVisionEmbeddings) -> None:
        super().__init__()
        self.patches = LinearPatches(embeddings.patch_embedding)
        positions = embeddings.position_embedding.weight.detach()
        self.first = nn.Parameter(embeddings.class_embedding.detach() + positions[0])
        self.positions = nn.Parameter(positions[1:])

    def forward(self, pixel_values: Tensor, **_: Any) -> Tensor:
        tokens = self.patches(pixel_values) + self.positions
        return torch.cat([self.first.expand(tokens.shape[0], 1, -1), tokens], dim=1)


def use_clip_operators(model: nn.Module) -> None:
    """Fused attention, and patches as a linear layer, in either tower, in place."""
    use_operators_in_towers(model)
    for child in list(model.modules()):
        if isinstance(getattr(child, "embeddings", None), CLIPVisionEmbeddings):
            child.embeddings = _Embeddings(child.embeddings)


FAMILY = Family(
    reference=FromTransformers("clip", "AutoModel"),
    outputs=("embeds",),
    ragged=False,
    use_operators=use_clip_operators,
    conventions=OPENAI,
    main=ImageTower,
    parts={"text": TEXT},
)
