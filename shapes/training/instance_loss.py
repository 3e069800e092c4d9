"""The set-prediction loss of ISTR (Hu et al. 2021, arXiv:2105.00637), weighted as the authors do.

Each stage's predictions are matched with the true instances by class, box and mask embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from export.zoo.istr_stage import Predictions
from export.zoo.mask_embedding import MaskEmbedding
from shapes.training.detr_loss import assigned, generalized_iou

_CLASS_WEIGHT, _L1_WEIGHT, _GIOU_WEIGHT, _EMBEDDING_WEIGHT, _DICE_WEIGHT = 2.0, 5.0, 2.0, 2.0, 2.0
# Of the focal loss (Lin et al. 2017, arXiv:1708.02002, section 5).
_ALPHA, _GAMMA = 0.25, 2.0


@dataclass(frozen=True)
class Targets:
    """The true instances of a batch, padded to the largest count T.

    Attributes:
        boxes: float32 (N, T, 4), corners in 0..1 of the image.
        labels: int64 (N, T).
        masks: float32 (N, T, side, side), zeros and ones within the boxes.
        counts: instances of each image.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor
    counts: list[int]


def set_loss(stages: Sequence[Predictions], embedding: MaskEmbedding, targets: Targets) -> Tensor:
    """Sums the losses of all stages, divided by the number of instances in the batch.

    Args:
        stages: what each has found in N images.
        embedding: of the masks.
        targets: the N images' instances.
    """
    found = Predictions(
        *(torch.stack(part).flatten(0, 1).float() for part in zip(*stages, strict=True))
    )
    counts = targets.counts * len(stages)
    labels = targets.labels.repeat(len(stages), 1)
    boxes = targets.boxes.repeat(len(stages), 1, 1)
    codes = embedding.encode(targets.masks).repeat(len(stages), 1, 1)
    row, query, item = assigned(_cost(found, labels, boxes, codes), counts)
    wanted = torch.zeros_like(found.logits)
    wanted[row, query, labels[row, item]] = 1
    mine, true = found.boxes[row, query], boxes[row, item]
    code = found.embeddings[row, query]
    mask = targets.masks.repeat(len(stages), 1, 1, 1)[row, item]
    loss = (
        _CLASS_WEIGHT * _focal(found.logits, wanted).sum()
        + _L1_WEIGHT * (mine - true).abs().sum()
        + _GIOU_WEIGHT * (1 - generalized_iou(_centred(mine), _centred(true))).sum()
        + _EMBEDDING_WEIGHT * (code - codes[row, item]).square().mean(-1).sum()
        + _DICE_WEIGHT * _dice(embedding(code).sigmoid(), mask).sum()
    )
    return loss / max(sum(targets.counts), 1)


@torch.no_grad()
def _cost(found: Predictions, labels: Tensor, boxes: Tensor, codes: Tensor) -> Tensor:
    """What it costs to give each query (rows, Q) each instance (rows, T): (rows, Q, T)."""
    logits = found.logits
    difference = _focal(logits, torch.ones_like(logits)) - _focal(logits, torch.zeros_like(logits))
    classes = difference.gather(2, labels[:, None].expand(-1, logits.shape[1], -1))
    apart = (found.boxes[:, :, None] - boxes[:, None]).abs().sum(-1)
    overlap = generalized_iou(_centred(found.boxes)[:, :, None], _centred(boxes)[:, None])
    alike = functional.cosine_similarity(found.embeddings[:, :, None], codes[:, None], dim=-1)
    return (
        _CLASS_WEIGHT * classes
        + _L1_WEIGHT * apart
        - _GIOU_WEIGHT * overlap
        - _EMBEDDING_WEIGHT * (alike + 1) / 2
    )


def _focal(logits: Tensor, wanted: Tensor) -> Tensor:
    """The focal loss of each class on its own, of the shape of `logits`."""
    plain = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    missed = (logits.sigmoid() - wanted).abs() ** _GAMMA
    return (_ALPHA * wanted + (1 - _ALPHA) * (1 - wanted)) * missed * plain


def _dice(found: Tensor, true: Tensor) -> Tensor:
    """Milletari et al. 2016 (arXiv:1606.04797), section 3, of masks (M, side, side): (M,)."""
    shared = (found * true).sum((1, 2))
    return 1 - 2 * shared / (found.square() + true.square()).sum((1, 2)).clamp(min=1e-5)


def _centred(boxes: Tensor) -> Tensor:
    """Corners to centres and sides."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)
