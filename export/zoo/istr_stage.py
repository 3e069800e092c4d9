"""One stage of ISTR (Hu et al. 2021, arXiv:2105.00637): dynamic attention and what it predicts.

As in Sparse R-CNN (Sun et al. 2021, arXiv:2011.12450), from whose head the authors' grew, each
query has a box. Queries attend to each other, and each makes the weights of two 1 x 1 convolutions
that its own box's features go through.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.zoo.istr_config import IstrConfig
from export.zoo.mixing import Mix

# Of a side from one stage to the next; a guard against overflow, as in Fast R-CNN's successors.
_LARGEST_GROWTH = math.log(100_000 / 16)


class Predictions(NamedTuple):
    """What a stage finds for Q queries.

    Attributes:
        logits: (B, Q, classes).
        boxes: corners (B, Q, 4) in 0..1 of the image.
        embeddings: (B, Q, mask_size), of the masks within the boxes.
    """

    logits: Tensor
    boxes: Tensor
    embeddings: Tensor


class Stage(nn.Module):
    """Queries and the features of their boxes to better queries, boxes, classes and masks."""

    def __init__(self, config: IstrConfig) -> None:
        """Args: config: of the model."""
        super().__init__()
        width = config.width
        self.attention = SelfAttention(width, config.heads)
        self.interact = DynamicConvolution(width, config.dynamic_width, config.pool_size**2)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.expand = nn.Linear(width, config.feedforward)
        self.contract = nn.Linear(config.feedforward, width)
        self.class_head = _head(config, config.num_labels)
        self.box_head = _head(config, 4)
        self.mask_head = _head(config, config.mask_size)

    def forward(
        self, features: Tensor, boxes: Tensor, queries: Tensor
    ) -> tuple[Predictions, Tensor]:
        """One refinement.

        Args:
            features: (B * Q, bins, width), of the boxes.
            boxes: corners (B, Q, 4) in 0..1 of the image.
            queries: (B, Q, width).

        Returns:
            What is found, and the queries of the next stage.
        """
        queries = self.norm1(queries + self.attention(queries))
        queries = self.norm2(queries + self.interact(queries, features))
        hidden = functional.elu(self.expand(queries))
        queries = self.norm3(queries + self.contract(hidden))
        found = Predictions(
            self.class_head(queries),
            moved(boxes, self.box_head(queries)),
            self.mask_head(queries),
        )
        return found, queries


class SelfAttention(nn.Module):
    """Multi-head attention among the queries of an image (Vaswani et al. 2017)."""

    def __init__(self, width: int, heads: int) -> None:
        """Args: width: of a query, a multiple of `heads`."""
        super().__init__()
        self.heads, self.mix = heads, Mix()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            nn.Linear(width, width) for _ in range(4)
        )

    def forward(self, queries: Tensor) -> Tensor:
        """(B, Q, width) -> (B, Q, width)."""
        parts = (
            linear(queries).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed: Tensor = self.mix(*parts)
        found: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))
        return found


class DynamicConvolution(nn.Module):
    """Two convolutions whose weights a query makes, then all of a box's bins to one vector."""

    def __init__(self, width: int, inner: int, bins: int) -> None:
        """From `width` channels over `inner` back to `width`, in each of `bins`."""
        super().__init__()
        self.width, self.inner = width, inner
        self.make = nn.Linear(width, 2 * width * inner)
        self.inner_norm, self.outer_norm = nn.LayerNorm(inner), nn.LayerNorm(width)
        self.gather = nn.Linear(width * bins, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, queries: Tensor, features: Tensor) -> Tensor:
        """(B, Q, width) and (B * Q, bins, width) -> (B, Q, width)."""
        first, second = self.make(queries).flatten(0, 1).chunk(2, dim=-1)
        bins = features @ first.unflatten(-1, (self.width, self.inner))
        bins = functional.elu(self.inner_norm(bins))
        bins = bins @ second.unflatten(-1, (self.inner, self.width))
        bins = functional.elu(self.outer_norm(bins))
        found = functional.elu(self.norm(self.gather(bins.flatten(1))))
        return found.reshape(queries.shape)


def moved(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Boxes by corners, moved by halves of their sides and scaled by an exponential.

    Ren et al. 2015 (arXiv:1506.01497), equation 2, with weights 2, 2, 1 and 1.
    """
    sides = boxes[..., 2:] - boxes[..., :2]
    centres = boxes[..., :2] + (0.5 + deltas[..., :2] / 2) * sides
    halves = sides * deltas[..., 2:].clamp(max=_LARGEST_GROWTH).exp() / 2
    return torch.cat([centres - halves, centres + halves], dim=-1)


def _head(config: IstrConfig, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(config.head_layers):
        layers += [nn.Linear(config.width, config.width, bias=False)]
        layers += [nn.LayerNorm(config.width), nn.ELU()]
    return nn.Sequential(*layers, nn.Linear(config.width, outputs))
