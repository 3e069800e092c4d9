"""VTN (Neimark et al. 2021, arXiv:2102.00719): what happens in a clip.

A ViT makes one feature vector of each frame (section 3.1); a Longformer lets them and a class token
look at each other (section 3.2); an MLP classifies the class token (section 3.3). The three are in
the graph `pixel_values` (batch, frames, 3, height, width) to `logits` (batch, classes), and in two
parts by themselves, so that each frame of a video goes through the backbone once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import ViTConfig, ViTModel

from export.zoo.attention_interface import use_fused_attention
from export.zoo.family import Family, Part
from export.zoo.mixing import fuse_mixes
from export.zoo.patches import LinearPatches
from export.zoo.reference import OwnModule
from export.zoo.vtn_config import VtnConfig
from export.zoo.vtn_longformer import BandMix, FusedBand, LongformerAttention, LongformerLayer
from export.zoo.vtn_names import AUTHORS
from export.zoo.vtn_parts import feature_samples, frame_samples


class Spatial(nn.Module):
    """The backbone: a ViT's class token after its last norm."""

    def __init__(self, config: VtnConfig) -> None:
        """Args: config: of the model."""
        super().__init__()
        names = (
            "image_size",
            "patch_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "layer_norm_eps",
            "initializer_range",
        )
        settings = ViTConfig(**{name: getattr(config, name) for name in names})
        self.vit = ViTModel(settings, add_pooling_layer=False)

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """Frames (N, 3, H, W) -> `features` (N, C), and `embeds`, the same with length 1."""
        features = self.vit(pixel_values=pixel_values).last_hidden_state[:, 0]
        return {"features": features, "embeds": functional.normalize(features, dim=-1)}


class Temporal(nn.Module):
    """Class token, positions, Longformer layers and the MLP head."""

    def __init__(self, config: VtnConfig) -> None:
        """Args: config: of the model."""
        super().__init__()
        width = config.hidden_size
        self.class_token = nn.Parameter(torch.randn(1, 1, width))
        self.position_embeddings = nn.Embedding(config.max_positions, width)
        self.token_type_embeddings = nn.Embedding(2, width)  # frame and class token
        self.norm = nn.LayerNorm(width, config.temporal_layer_norm_eps)
        self.layers = nn.ModuleList(LongformerLayer(config) for _ in range(config.temporal_layers))
        self.head_norm = nn.LayerNorm(width)
        self.head_expand = nn.Linear(width, config.head_size)
        self.classifier = nn.Linear(config.head_size, config.num_labels)
        # The authors count positions modulo all but two, of which the first is the class token's.
        frames = config.max_positions - 2
        positions = torch.arange(config.num_frames) * config.frame_step % frames
        self.register_buffer(
            "positions", functional.pad(positions, (1, 0), value=frames), persistent=False
        )
        self.register_buffer(
            "types", functional.pad(torch.zeros_like(positions), (1, 0), value=1), persistent=False
        )
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=config.initializer_range)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Features of a clip's frames (B, T, C) -> `logits` (B, classes)."""
        class_tokens = self.class_token.expand(features.shape[0], -1, -1)
        tokens = torch.cat((class_tokens, features), dim=1)
        tokens = tokens + self.position_embeddings(self.positions)
        tokens = self.norm(tokens + self.token_type_embeddings(self.types))
        for layer in self.layers:
            tokens = layer(tokens, class_only=layer is self.layers[-1])
        hidden = functional.gelu(self.head_expand(self.head_norm(tokens[:, 0])))
        return {"logits": self.classifier(hidden)}


class Vtn(nn.Module):
    """Backbone and temporal encoder."""

    def __init__(self, config: VtnConfig) -> None:
        """Random weights, from torch's global seed."""
        super().__init__()
        self.frames = config.num_frames
        self.spatial = Spatial(config)
        self.temporal = Temporal(config)

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """Clips (B, T, 3, H, W) -> `logits` (B, classes)."""
        features = self.spatial(pixel_values.flatten(0, 1))["features"]
        found: dict[str, Tensor] = self.temporal(
            features.reshape(-1, self.frames, features.shape[-1])
        )
        return found


def use_operators(model: nn.Module) -> None:
    """Fused attention, and patches as a linear layer, in a VTN or a part of it, in place."""
    fuse_mixes(model)
    for module in model.modules():
        if isinstance(module, LongformerAttention):
            assert isinstance(module.band, BandMix)
            module.band = FusedBand(module.band)
        elif isinstance(module, Spatial):
            use_fused_attention(module.vit)
            embeddings: Any = module.vit.embeddings
            embeddings.patch_embeddings = LinearPatches(embeddings.patch_embeddings.projection)


FAMILY = Family(
    reference=OwnModule(VtnConfig, Vtn),
    outputs=("logits",),
    ragged=False,
    use_operators=use_operators,
    conventions=(AUTHORS,),
    parts={
        "frame": Part(
            lambda vtn: vtn.get_submodule("spatial"), ("features", "embeds"), frame_samples
        ),
        "temporal": Part(lambda vtn: vtn.get_submodule("temporal"), ("logits",), feature_samples),
    },
)
