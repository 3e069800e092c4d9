"""A small iGPT of every variant."""

from __future__ import annotations

from typing import Any

import torch

from export.zoo import find_family
from export.zoo.imagegpt import ImageGpt
from export.zoo.imagegpt_config import ImageGptConfig

SIDE, COLOURS, LAYERS, HEADS, WIDTH = 4, 7, 2, 2, 16
PIXELS = SIDE * SIDE
VARIANTS: dict[str, dict[str, Any]] = {
    "published": {},
    "tiny": {"norm": "layer", "activation": "gelu"},
    "koker": {"norm": "layer", "activation": "gelu", "residual": "normed"},
}
FAMILY = find_family("imagegpt")
# float32 sums in another order: a few units in the last place for each of some ten layers, on
# logits of order 3. A wrong weight, mask or place shows above 1e-1.
TOLERANCE = 2e-5


def model(variant: str = "tiny", seed: int = 0) -> ImageGpt:
    """Random weights that make every term count."""
    torch.manual_seed(seed)
    config = ImageGptConfig(
        image_size=SIDE, clusters=COLOURS, width=WIDTH, layers=LAYERS, heads=HEADS,
        **VARIANTS[variant],
    )  # fmt: skip
    module = ImageGpt(config).eval()
    for parameter in module.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.3 * torch.randn_like(parameter)
        else:
            parameter.data = torch.randn_like(parameter) * 1.5 * parameter.shape[1] ** -0.5
    return module


def pixels(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(COLOURS, (count, PIXELS), generator=generator)
