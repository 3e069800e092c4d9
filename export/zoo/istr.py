"""ISTR (Hu et al. 2021, arXiv:2105.00637): instances as a set of boxes, classes and masks.

Boxes that begin as the whole image are refined stage by stage; each query ends as a class, a box
and an embedding of the mask within it, which the graph decodes. Where the paper's text leaves
something open, the module does as the authors' first release (github.com/hujiecpp/ISTR, 02279fc).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers import ResNetBackbone, ResNetConfig

from export.zoo.family import Family
from export.zoo.feature_pyramid import FeaturePyramid
from export.zoo.folding import fold_resnet_norms
from export.zoo.istr_config import IstrConfig
from export.zoo.istr_stage import Predictions, Stage
from export.zoo.mask_embedding import MaskEmbedding
from export.zoo.mixing import fuse_mixes
from export.zoo.reference import OwnModule
from export.zoo.roi_align import PyramidRoIAlign, use_onnx_roi_align

_PRIOR = 0.01  # of any class at any query, before training (Lin et al. 2017, arXiv:1708.02002)


class Istr(nn.Module):
    """Backbone, pyramid and the stages of refinement."""

    def __init__(self, config: IstrConfig) -> None:
        """Random weights, from torch's global seed; the mask embedding is to be fitted."""
        super().__init__()
        names = [f"stage{number}" for number in range(1, len(config.depths) + 1)]
        self.backbone = ResNetBackbone(
            ResNetConfig(
                embedding_size=config.embedding_size,
                hidden_sizes=list(config.hidden_sizes),
                depths=list(config.depths),
                layer_type=config.layer_type,
                out_features=names,
            )
        )
        self.pyramid = FeaturePyramid(config.hidden_sizes, config.width)
        self.pool = PyramidRoIAlign(config.pool_size, config.pool_samples, config.canonical_size)
        # Centres and sides, in 0..1 of the image: all of it.
        self.boxes = nn.Parameter(torch.tensor([0.5, 0.5, 1, 1]).repeat(config.num_queries, 1))
        self.positions = nn.Parameter(torch.randn(config.num_queries, config.width))
        self.stages = nn.ModuleList(Stage(config) for _ in range(config.stages))
        self.mask_embedding: nn.Module = MaskEmbedding(config.mask_side, config.mask_size)
        for name, parameter in self.stages.named_parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
            elif name.endswith(f"class_head.{3 * config.head_layers}.bias"):
                nn.init.constant_(parameter, -math.log((1 - _PRIOR) / _PRIOR))

    def refine(self, pixel_values: Tensor) -> list[Predictions]:
        """(B, 3, H, W) to what each stage finds."""
        maps = self.pyramid(self.backbone(pixel_values).feature_maps)
        # Every query begins as what the image shows on average, and where it stands in line.
        image = sum(each.mean((2, 3)) for each in maps)
        queries = image[:, None] + self.positions
        centres, halves = self.boxes[:, :2], self.boxes[:, 2:] / 2
        boxes = torch.cat([centres - halves, centres + halves], dim=-1)
        boxes = boxes.expand(pixel_values.shape[0], -1, -1)
        height, width = pixel_values.shape[2:]
        found = []
        for stage in self.stages:
            features = self.pool(maps, boxes.detach(), (height, width))
            predictions, queries = stage(features, boxes, queries)
            found.append(predictions)
            boxes = predictions.boxes.detach()
        return found

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) to the graph's outputs, of the last stage.

        Returns:
            `logits` (B, Q, classes), of independent classes; `boxes` (B, Q, 4), left, top, right,
            bottom in 0..1 of the image; `masks` (B, Q, side, side), logits of the pixels of each
            box.
        """
        logits, boxes, embeddings = self.refine(pixel_values)[-1]
        return {"logits": logits, "boxes": boxes, "masks": self.mask_embedding(embeddings)}


def use_operators(model: nn.Module) -> None:
    """`FusedAttention`, ONNX's RoiAlign, norms folded, masks by a linear layer; in place."""
    assert isinstance(model, Istr) and isinstance(model.mask_embedding, MaskEmbedding)
    fold_resnet_norms(model.backbone)
    fuse_mixes(model)
    use_onnx_roi_align(model)
    model.mask_embedding = model.mask_embedding.as_linear()


FAMILY = Family(
    reference=OwnModule(IstrConfig, Istr),
    outputs=("logits", "boxes", "masks"),
    ragged=False,
    use_operators=use_operators,
)
