"""iGPT (Chen et al. 2020, "Generative Pretraining from Pixels"): the next pixel from those before.

An image is a sequence of colour clusters, row by row. The model gives the logits of every pixel
from the pixels before it (section 2.1); the first comes after a learned start token. Layers are
those of GPT-2, norms first (section 2.2). Without labels it has learnt features: the mean over the
sequence of a middle layer's normalised input, of which a linear probe reads classes (section 2.4).

The graph of whole images also gives the keys and values of every layer, with which the other
graph, `ImageGptStep`, adds one pixel after another.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.zoo.causal import CausalLayer, causal_bias, past_bias
from export.zoo.family import Family, Part
from export.zoo.imagegpt_config import ImageGptConfig
from export.zoo.imagegpt_names import CONVENTIONS
from export.zoo.imagegpt_samples import step_samples
from export.zoo.mixing import fuse_mixes
from export.zoo.reference import OwnModule

_EPS = 1e-5


class RmsNorm(nn.Module):
    """Divides by the root of the mean square; scales; neither centres nor offsets."""

    def __init__(self, width: int) -> None:
        """Args: width: of tokens."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        """(…, C) -> (…, C)."""
        return tokens * (tokens.square().mean(-1, keepdim=True) + _EPS).rsqrt() * self.weight


def quick_gelu(values: Tensor) -> Tensor:
    """x · sigmoid(1.702 x), as OpenAI's code approximates the GELU."""
    return values * torch.sigmoid(1.702 * values)


_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "rms": RmsNorm,
    "layer": partial(nn.LayerNorm, eps=_EPS),
}
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "quick_gelu": quick_gelu,
    "gelu": functional.gelu,
}


class ImageGpt(nn.Module):
    """Whole images at once."""

    def __init__(self, config: ImageGptConfig) -> None:
        """Random weights, from torch's global seed."""
        super().__init__()
        width, norm = config.width, _NORMS[config.norm]
        self.config = config
        # The last one is the start token.
        self.tokens = nn.Embedding(config.clusters + 1, width)
        self.positions = nn.Embedding(config.positions, width)
        self.layers = nn.ModuleList(
            CausalLayer(
                width, config.heads, norm, _ACTIVATIONS[config.activation],
                residual_of_norm=config.residual == "normed",
            )
            for _ in range(config.layers)
        )  # fmt: skip
        self.norm = norm(width)
        self.head = nn.Linear(width, config.clusters, bias=False)
        self.register_buffer("bias", causal_bias(config.positions), persistent=False)
        self._initialise(config)

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        """Every pixel from those before it.

        Args:
            input_ids: int64 (B, N), the clusters of all pixels. The sequence is shifted here: the
                logits of a pixel do not depend on itself or on later ones.

        Returns:
            `logits` (B, N, clusters), `features` (B, width) and `cache` (B, 2 layers, heads, N,
            width / heads): keys, then values, of the first layer and so on. At place i it holds
            what the token before pixel i made of itself.
        """
        start = torch.full_like(input_ids[:, :1], self.config.clusters)
        shifted = torch.cat([start, input_ids[:, :-1]], dim=1)
        tokens = self.tokens(shifted) + self.positions.weight
        before, cache = [], []
        for layer in self.layers:
            before.append(tokens)
            tokens, new = layer(tokens, self.bias)
            cache.append(new)
        before.append(tokens)
        norms: list[Any] = [*(layer.norm_before for layer in self.layers), self.norm]
        read = self.config.read_layer
        return {
            "logits": self.head(self.norm(tokens)),
            "features": norms[read](before[read]).mean(dim=1),
            "cache": torch.cat(cache, dim=1),
        }

    def _initialise(self, config: ImageGptConfig) -> None:
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                # GPT-2's: residual sums keep their size however many layers there are.
                last = name.endswith(("output.weight", "contract.weight"))
                factor = 1 / math.sqrt(2 * config.layers) if last else 1.0
                nn.init.normal_(parameter, std=config.initializer_range * factor)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)


class ImageGptStep(nn.Module):
    """One pixel after those that a cache holds."""

    def __init__(self, whole: ImageGpt) -> None:
        """Shares the parameters of `whole`."""
        super().__init__()
        self.tokens, self.positions = whole.tokens, whole.positions
        self.layers, self.norm, self.head = whole.layers, whole.norm, whole.head

    def forward(self, input_ids: Tensor, position: Tensor, cache: Tensor) -> dict[str, Tensor]:
        """The pixel at a position.

        Args:
            input_ids: int64 (B, 1), the cluster of the pixel before it; the number of clusters,
                which is the start token, before the first.
            position: int64 (B,), of the pixel.
            cache: (B, 2 layers, heads, N, width / heads) as `ImageGpt` gives it, right at all
                places before `position`; what it holds elsewhere does not matter.

        Returns:
            `logits` (B, clusters) of the pixel, and `news` (B, 2 layers, heads, width / heads),
            which belongs into the cache at `position`.
        """
        tokens = self.tokens(input_ids) + self.positions(position)[:, None]
        bias = past_bias(position, cache.shape[3])
        news = []
        for number, layer in enumerate(self.layers):
            tokens, new = layer(tokens, bias, cache[:, 2 * number : 2 * number + 2])
            news.append(new)
        logits = self.head(self.norm(tokens))[:, 0]
        return {"logits": logits, "news": torch.cat(news, dim=1)[:, :, :, 0]}


def _step(module: nn.Module) -> nn.Module:
    assert isinstance(module, ImageGpt)
    return ImageGptStep(module)


FAMILY = Family(
    reference=OwnModule(ImageGptConfig, ImageGpt),
    outputs=("logits", "features", "cache"),
    ragged=False,
    use_operators=fuse_mixes,
    conventions=CONVENTIONS,
    parts={"step": Part(_step, ("logits", "news"), step_samples)},
)
