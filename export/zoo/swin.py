"""Swin (Liu et al. 2021), with shift, partition and attention in one `WindowAttention`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.swin.modeling_swin import SwinLayer

from export.attention import window_attention
from export.zoo.family import Convention, Family, StateDict, rename, split_qkv
from export.zoo.patches import LinearPatches
from export.zoo.reference import FromTransformers


class WindowedLayer(nn.Module):
    """A `SwinLayer` whose attention is one `WindowAttention` on the whole feature map.

    The operator takes queries, keys and values concatenated; the three projections stay three
    linears, whose outputs can be quantised each in its own way. Weights are shared; the layer
    computes the same function.
    """

    def __init__(self, layer: SwinLayer) -> None:
        """Takes over the modules of `layer`."""
        super().__init__()
        attention = layer.attention
        self.attention = attention
        self.register_buffer("position_bias", attention.relative_position_bias()[0].detach())
        self.layernorm_before = layer.layernorm_before
        self.layernorm_after = layer.layernorm_after
        self.mlp = layer.mlp
        self.heads, self.scale = attention.num_attention_heads, attention.scaling
        self.window, self.shift = layer.window_size, layer.shift_size

    def forward(
        self, hidden_states: Tensor, input_dimensions: tuple[int, int], *_: Any, **__: Any
    ) -> tuple[Tensor, None]:
        """As `SwinLayer.forward`: (B, Hh·Ww, C) in and out; attention weights are not kept."""
        height, width = input_dimensions
        down, right = -height % self.window, -width % self.window
        padded = (height + down, width + right)
        tokens = self.layernorm_before(hidden_states)
        if down or right:  # after the norm, so that padding is zero for the projections
            grid = tokens.unflatten(1, (height, width))
            tokens = nn.functional.pad(grid, (0, 0, 0, right, 0, down)).flatten(1, 2)
        # A map of one window is not shifted (Swin's own rule).
        shift = 0 if min(height, width) <= self.window else self.shift
        # Linears see three axes: OpenVINO fuses their bias there, and not on four.
        own = self.attention
        projected = [own.q_proj(tokens), own.k_proj(tokens), own.v_proj(tokens)]
        qkv: Tensor = torch.cat(projected, dim=-1).unflatten(1, padded)  # type: ignore[no-untyped-call]
        mixed = window_attention(
            qkv, self.position_bias, self.window, shift, self.heads, self.scale
        )
        mixed = own.o_proj(mixed.flatten(1, 2))
        if down or right:
            mixed = mixed.unflatten(1, padded)[:, :height, :width].flatten(1, 2)
        hidden_states = hidden_states + mixed
        return hidden_states + self.mlp(self.layernorm_after(hidden_states)), None


class _Patches(LinearPatches):
    """Patches of an image that need not be a multiple of them; also returns the map's size."""

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, tuple[int, int]]:  # type: ignore[override]
        """(B, C, H, W) -> (B, tokens, width), (Hh, Ww)."""
        (high, wide), (height, width) = self.patch, pixel_values.shape[2:]
        padded = nn.functional.pad(pixel_values, (0, -width % wide, 0, -height % high))
        return super().forward(padded), (-(-height // high), -(-width // wide))


class _Mean(nn.Module):
    """The pooler, (B, C, N) -> (B, C, 1), as a mean: adaptive pooling exports as index maths."""

    def forward(self, features: Tensor) -> Tensor:
        return features.mean(-1, keepdim=True)


def use_window_attention(model: nn.Module) -> None:
    """Replaces every `SwinLayer` of an eval-mode reference by a `WindowedLayer`, in place.

    Raises:
        ValueError: when a stage's map is smaller than its window, where the reference would
            shrink the window and so need another bias table.
    """
    swin: Any = model.swin
    swin.embeddings.patch_embeddings = _Patches(swin.embeddings.patch_embeddings.projection)
    swin.pooler = _Mean()
    for depth, stage in enumerate(swin.encoder.layers):
        # Merging pads an odd map, so sizes are halved upwards.
        tokens = tuple(-(-side // 2**depth) for side in swin.embeddings.patch_grid)
        for index, layer in enumerate(stage.blocks):
            if min(tokens) < layer.window_size:
                raise ValueError(
                    f"a Swin stage of {tokens} tokens is smaller than its window "
                    f"of {layer.window_size}: expected an image at least as large as the window "
                    "in the last stage; enlarge image_size or shrink window_size"
                )
            stage.blocks[index] = WindowedLayer(layer)


_TOP = {
    "patch_embed.proj": "swin.embeddings.patch_embeddings.projection",
    "patch_embed.norm": "swin.embeddings.norm",
    "features.0.0": "swin.embeddings.patch_embeddings.projection",
    "features.0.2": "swin.embeddings.norm",
    "norm": "swin.layernorm",
    "head.fc": "classifier",
    "head": "classifier",
}
_BLOCK = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.o_proj",
    "attn.relative_position_bias_table": (
        "attention.relative_position_bias.relative_position_bias_table"
    ),
    "mlp.0": "mlp.fc1",  # torchvision
    "mlp.3": "mlp.fc2",
}
# Buffers that the reference computes itself.
_DERIVED = ("attn.relative_position_index", "attn_mask")


def _block(layer: str, rest: str, tensor: Tensor) -> StateDict:
    if rest in _DERIVED:
        return {}
    if rest.startswith("attn.qkv."):
        targets = (
            f"{layer}.attention.q_proj",
            f"{layer}.attention.k_proj",
            f"{layer}.attention.v_proj",
        )
        return split_qkv(rest, tensor, targets)
    return {f"{layer}.{rename(rest, _BLOCK)}": tensor}


def _from_timm(state: Mapping[str, Tensor]) -> StateDict:
    # timm's newer files hold a stage's patch merging at the head of the next stage, older ones
    # and the authors' at its own tail.
    at_head = "layers.0.downsample.norm.weight" not in state
    converted: StateDict = {}
    for name, tensor in state.items():
        if inside := re.match(r"layers\.(\d+)\.blocks\.(\d+)\.", name):
            layer = f"swin.encoder.layers.{inside[1]}.blocks.{inside[2]}"
            converted |= _block(layer, name[inside.end() :], tensor)
        elif merge := re.match(r"layers\.(\d+)\.downsample\.", name):
            stage = int(merge[1]) - at_head
            converted[f"swin.encoder.layers.{stage}.downsample.{name[merge.end() :]}"] = tensor
        else:
            converted[rename(name, _TOP)] = tensor
    return converted


def _from_torchvision(state: Mapping[str, Tensor]) -> StateDict:
    # torchvision numbers stages 1, 3, 5, 7 and the patch merging after each 2, 4, 6.
    converted: StateDict = {}
    for name, tensor in state.items():
        if inside := re.match(r"features\.([1357])\.(\d+)\.", name):
            layer = f"swin.encoder.layers.{int(inside[1]) // 2}.blocks.{inside[2]}"
            converted |= _block(layer, name[inside.end() :], tensor)
        elif merge := re.match(r"features\.([246])\.", name):
            stage = int(merge[1]) // 2 - 1
            converted[f"swin.encoder.layers.{stage}.downsample.{name[merge.end() :]}"] = tensor
        else:
            converted[rename(name, _TOP)] = tensor
    return converted


FAMILY = Family(
    reference=FromTransformers("swin", "AutoModelForImageClassification"),
    outputs=("logits",),
    ragged=False,
    use_operators=use_window_attention,
    conventions=(
        Convention("timm", "patch_embed.proj.weight", _from_timm),
        Convention("torchvision", "features.0.0.weight", _from_torchvision),
    ),
)
