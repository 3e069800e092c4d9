"""Members of every family that export in a second, with weights that make every term count."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from export.zoo import find_family
from export.zoo.family import Family

_RESNET = {
    "model_type": "resnet",
    "depths": [1, 1],
    "hidden_sizes": [16, 32],
    "embedding_size": 16,
    "layer_type": "bottleneck",
    "out_features": ["stage2"],
}
_SWIN = {"embed_dim": 16, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4, "patch_size": 4}


@dataclass(frozen=True)
class Tiny:
    """A tiny configuration, and the height and width in pixels at which it is exported."""

    family_name: str
    size: tuple[int, int]
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def family(self) -> Family:
        return find_family(self.family_name)

    @property
    def inputs(self) -> dict[str, Tensor]:
        """To trace a module with."""
        return example_images(*self.size, ragged=self.family.ragged)

    def module(self, seed: int = 0) -> nn.Module:
        """A reference module in eval mode with random weights."""
        module = self.family.reference.build({"num_labels": 7, **self.config}).eval()
        randomise(module, seed)
        return module


TINY = {
    "vit": Tiny(
        "vit",
        (32, 32),
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "image_size": 32,
            "patch_size": 8,
        },
    ),
    # Maps of 8 x 8 and 4 x 4 tokens: four windows with a shift, then exactly one without.
    "swin": Tiny("swin", (32, 32), {**_SWIN, "image_size": 32}),
    # Maps of 10 x 14 and 5 x 7 tokens, padded to 12 x 16 and 8 x 8; both shifted.
    "swin_padded": Tiny("swin", (40, 56), {**_SWIN, "image_size": [40, 56]}),
    # Maps of 7 x 7, padded to 8 x 8, and (after a padded merge) of 4 x 4: one window.
    "swin_odd": Tiny("swin", (28, 28), {**_SWIN, "image_size": 28}),
    "detr": Tiny(
        "detr",
        (64, 64),
        {
            "backbone_config": _RESNET,
            "d_model": 32,
            "encoder_layers": 1,
            "decoder_layers": 2,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "num_queries": 5,
        },
    ),
}


@torch.no_grad()
def randomise(module: nn.Module, seed: int) -> None:
    """Gives every parameter and batch-norm statistic a value that its absence would show."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: Tensor, scale: float, around: float = 0.0) -> None:
        tensor.copy_(around + scale * torch.randn(tensor.shape, generator=generator))

    for name, parameter in module.named_parameters():
        if name.endswith("weight") and parameter.ndim == 1:  # of a LayerNorm
            normal(parameter, 0.2, around=1.0)
        elif name.endswith("weight") and parameter.ndim > 1:
            # A gain of 1.5 keeps attention far from uniform; inputs are of unit scale.
            normal(parameter, 1.5 * parameter[0].numel() ** -0.5)
        else:  # biases, tokens, positions, relative-position tables
            normal(parameter, 0.3)
    for name, buffer in module.named_buffers():
        if name.endswith("running_var"):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
        elif name.endswith("normalization.weight"):
            normal(buffer, 0.2, around=1.0)
        elif name.endswith(("running_mean", "normalization.bias")):
            normal(buffer, 0.3)


def inputs(
    tiny: Tiny, batch: int, size: tuple[int, int] | None = None, seed: int = 0
) -> dict[str, Tensor]:
    """Random pixels; for a ragged family also a mask that pads image i at bottom and right.

    The first image fills the batch, as `runtime.Preprocess` guarantees of one image.
    """
    height, width = size or tiny.size
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(batch, 3, height, width, generator=generator)
    if not tiny.family.ragged:
        return {"pixel_values": pixels}
    mask = torch.zeros(batch, height, width, dtype=torch.int64)
    for i in range(batch):
        rows, columns = height - i * height // 12, width - i * width // 16
        mask[i, :rows, :columns] = 1
    return {"pixel_values": pixels * mask[:, None], "pixel_mask": mask}


def reference_outputs(module: nn.Module, tiny: Tiny, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The original module's outputs as arrays, by the family's names."""
    with torch.no_grad():
        result = module(**tensors)
    return {name: result[name].numpy() for name in tiny.family.outputs}


def example_images(height: int, width: int, *, ragged: bool = False) -> dict[str, Tensor]:
    """Inputs to trace a model of images with."""
    found = {"pixel_values": torch.zeros(2, 3, height, width)}
    if ragged:
        found["pixel_mask"] = torch.ones(2, height, width, dtype=torch.int64)
    return found
