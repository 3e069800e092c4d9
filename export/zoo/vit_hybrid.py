"""The hybrid ViT (Dosovitskiy et al. 2020, section 3.1): its tokens are cells of a ResNet's map.

The ResNet is section 4.1's "ResNet (BiT)": group norms instead of batch norms, and convolutions
whose weights are standardised (Qiao et al. 2019). The R50 of the published models has no stage 4
and its blocks in stage 3 (3 + 4 + 9 instead of 3 + 4 + 6 + 3), so that there are four times as many
tokens. A patch is one cell of the map, so equation 1's E is a linear layer on each. What follows is
ViT, unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import BitBackbone, BitConfig, ViTConfig, ViTForImageClassification

from export.zoo import vit
from export.zoo.attention_interface import use_fused_attention
from export.zoo.bit_layers import use_plain_layers
from export.zoo.family import Convention, Family, StateDict, rename
from export.zoo.reference import OwnModule


@dataclass(frozen=True)
class HybridConfig:
    """A hybrid ViT.

    Attributes:
        num_labels: classes.
        image_size: side in pixels.
        stem_width: channels after the ResNet's 7 x 7 convolution.
        stage_depths: bottlenecks of each of the ResNet's stages.
        stage_widths: channels that each stage returns.
        num_groups: of every group norm.
        hidden_size: width of the transformer.
        num_hidden_layers: of the transformer.
        num_attention_heads: of each layer.
        intermediate_size: of each MLP.
        layer_norm_eps: of the transformer.
        initializer_range: standard deviation of the transformer's random weights.

    Raises:
        ValueError: the map's cells do not tile the image.
    """

    num_labels: int
    image_size: int
    stem_width: int
    stage_depths: tuple[int, ...]
    stage_widths: tuple[int, ...]
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    num_groups: int = 32
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        """Checks the size."""
        if self.image_size % self.stride:
            raise ValueError(
                f"image_size {self.image_size}: expected a multiple of {self.stride}, the pixels "
                f"between cells of the map after {len(self.stage_depths)} stages"
            )

    @property
    def stride(self) -> int:
        """Pixels that a cell of the last map is apart from the next: 4 after the stem."""
        return int(2 ** (len(self.stage_depths) + 1))


class MapPatches(nn.Module):
    """Patch embedding from a ResNet's feature map."""

    def __init__(self, config: HybridConfig) -> None:
        """Random weights."""
        super().__init__()
        last = len(config.stage_depths)
        self.backbone = BitBackbone(
            BitConfig(
                embedding_size=config.stem_width,
                hidden_sizes=list(config.stage_widths),
                depths=list(config.stage_depths),
                num_groups=config.num_groups,
                layer_type="bottleneck",  # norm after convolution; BiT itself has it before
                global_padding="same",  # TensorFlow's padding, in which the weights were trained
                embedding_dynamic_padding=True,
                out_features=[f"stage{last}"],
            )
        )
        self.projection = nn.Conv2d(config.stage_widths[-1], config.hidden_size, kernel_size=1)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, cells, width), row by row."""
        (features,) = self.backbone(pixel_values).feature_maps
        tokens: Tensor = self.projection(features)
        return tokens.flatten(2).transpose(1, 2)


def hybrid_classifier(config: HybridConfig) -> nn.Module:
    """A ViT whose patches come from a ResNet's map, with random weights."""
    model = ViTForImageClassification(
        ViTConfig(
            num_labels=config.num_labels,
            image_size=config.image_size,
            patch_size=config.stride,  # so that there is a position for each cell
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            intermediate_size=config.intermediate_size,
            layer_norm_eps=config.layer_norm_eps,
            initializer_range=config.initializer_range,
        )
    )
    model.vit.embeddings.patch_embeddings = MapPatches(config)
    return model  # type: ignore[no-any-return]


def use_hybrid_operators(model: nn.Module) -> None:
    """Fused attention, and BiT's layers in the forms of `export.zoo.bit_layers`, in place."""
    use_fused_attention(model)
    use_plain_layers(model)


_BACKBONE = "vit.embeddings.patch_embeddings.backbone.bit"
_STEM = {"stem.conv": "embedder.convolution", "stem.norm": "embedder.norm"}
_HUB = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}


def _from_timm(state: Mapping[str, Tensor]) -> StateDict:
    converted: StateDict = {}
    rest: StateDict = {}
    for name, tensor in state.items():
        prefix, _, inside = name.partition("patch_embed.backbone.")
        if prefix or not inside:
            rest[name] = tensor
            continue
        inside = re.sub(r"^stages\.(\d+)\.blocks\.", r"encoder.stages.\1.layers.", inside)
        converted[f"{_BACKBONE}.{rename(inside, _STEM)}"] = tensor
    return converted | vit.from_timm(rest)


def _from_hub(state: Mapping[str, Tensor]) -> StateDict:
    # Published under the names of `transformers` 4, whose last release with the model was 4.40.
    converted: StateDict = {}
    for name, tensor in state.items():
        if inside := re.match(r"vit\.encoder\.layer\.(\d+)\.", name):
            name = f"vit.layers.{inside[1]}.{rename(name[inside.end() :], _HUB)}"
        converted[name] = tensor
    return converted


FAMILY = Family(
    reference=OwnModule(HybridConfig, hybrid_classifier),
    outputs=("logits",),
    ragged=False,
    use_operators=use_hybrid_operators,
    conventions=(
        Convention("timm", "patch_embed.backbone.stem.conv.weight", _from_timm),
        Convention("Hugging Face", "vit.encoder.layer.0.layernorm_before.weight", _from_hub),
    ),
)
