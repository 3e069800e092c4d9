"""The set-prediction loss of DETR (Carion et al. 2020, arXiv:2005.12872, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

CLASS_WEIGHT, L1_WEIGHT, GIOU_WEIGHT, NO_OBJECT_WEIGHT = 1.0, 5.0, 2.0, 0.1
_IGNORED = -1


@dataclass(frozen=True)
class Targets:
    """The true objects of a batch, padded to the largest count T.

    Attributes:
        boxes: float32 (N, T, 4), cxcywh as shares of the unpadded image.
        labels: int64 (N, T).
        counts: objects of each image.
    """

    boxes: Tensor
    labels: Tensor
    counts: list[int]


def set_loss(
    logits: Tensor,
    boxes: Tensor,
    targets: Targets,
    bias: Tensor | None = None,
    absent: Tensor | None = None,
) -> Tensor:
    """Sums the losses of K sets of predictions a image, each matched to the objects on its own.

    Args:
        logits: (K, N, queries, classes + 1), the last class meaning no object. K is the number of
            decoder layers, all of which DETR supervises.
        boxes: (K, N, queries, 4) cxcywh in 0..1.
        targets: the N images' objects.
        bias: see `matched`.
        absent: bool (N, queries), queries that stand for nothing and are taught nothing.

    Returns:
        The scalar loss: summed over the K sets, normalised by the number of objects in the batch.
    """
    sets, images, queries, classes = logits.shape
    row, query, item = matched(logits.detach(), boxes.detach(), targets, bias)
    wanted = torch.full((sets * images, queries), classes - 1)
    wanted[row, query] = targets.labels.repeat(sets, 1)[row, item]
    if absent is not None:
        wanted[absent.repeat(sets, 1)] = _IGNORED
    class_loss = sum(
        _class_loss(one, target)
        for one, target in zip(logits.flatten(1, 2), wanted.view(sets, -1), strict=True)
    )
    found = boxes.flatten(0, 1)[row, query]
    true = targets.boxes.repeat(sets, 1, 1)[row, item]
    return class_loss + _box_loss(found, true, sum(targets.counts))


def token_loss(logits: Tensor, boxes: Tensor, mask: Tensor, targets: Targets) -> Tensor:
    """The same loss of encoder tokens, where an object belongs to the token at its centre.

    Args:
        logits: (N, H * W, classes + 1).
        boxes: (N, H * W, 4).
        mask: bool (N, H, W), tokens that see some of the image.
        targets: the N images' objects.
    """
    images, _, classes = logits.shape
    # The unpadded image ends inside the last token that sees it.
    extent = torch.stack([mask.any(1).sum(1), mask.any(2).sum(1)], 1)[:, None]
    column, line = (targets.boxes[..., :2] * extent).long().unbind(-1)
    token = line * mask.shape[2] + column
    counts = torch.tensor(targets.counts)
    row, item = (torch.arange(token.shape[1]) < counts[:, None]).nonzero(as_tuple=True)
    wanted = torch.full((images, logits.shape[1]), classes - 1)
    wanted[row, token[row, item]] = targets.labels[row, item]
    class_loss = _class_loss(logits.flatten(0, 1), wanted.flatten())
    box_loss = _box_loss(boxes[row, token[row, item]], targets.boxes[row, item], len(row))
    return class_loss + box_loss


def _class_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy of (M, classes + 1) logits; 'no object' counts a tenth, `_IGNORED` nothing."""
    weight = torch.ones(logits.shape[-1])
    weight[-1] = NO_OBJECT_WEIGHT
    return CLASS_WEIGHT * functional.cross_entropy(logits, wanted, weight, ignore_index=_IGNORED)


def _box_loss(found: Tensor, true: Tensor, count: int) -> Tensor:
    """L1 and GIoU losses of matched boxes (M, 4), a `count`-th of their sums."""
    l1 = (found - true).abs().sum() / count
    giou = (1 - generalized_iou(found, true)).sum() / count
    return L1_WEIGHT * l1 + GIOU_WEIGHT * giou


def generalized_iou(first: Tensor, second: Tensor) -> Tensor:
    """GIoU (Rezatofighi et al. 2019, eq. 1-3) of boxes (..., 4) cxcywh that broadcast together."""
    low1, high1 = first[..., :2] - first[..., 2:] / 2, first[..., :2] + first[..., 2:] / 2
    low2, high2 = second[..., :2] - second[..., 2:] / 2, second[..., :2] + second[..., 2:] / 2
    shared = (torch.minimum(high1, high2) - torch.maximum(low1, low2)).clamp(min=0).prod(-1)
    union = first[..., 2:].prod(-1) + second[..., 2:].prod(-1) - shared
    hull = (torch.maximum(high1, high2) - torch.minimum(low1, low2)).prod(-1)
    return shared / (union + 1e-7) - (hull - union) / (hull + 1e-7)


@torch.no_grad()
def matched(
    logits: Tensor, boxes: Tensor, targets: Targets, bias: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Hungarian matching (equation 1 and 'bounding box loss' of the paper), all sets at once.

    Args:
        logits, boxes: as `set_loss` takes them.
        targets: the N images' objects.
        bias: (N, queries, T), added to the cost of every pair: what is far below all others is
            taken for sure, what is far above never.

    Returns:
        Row (of K * N), query and object of each pair.
    """
    sets = logits.shape[0]
    probabilities = logits.float().softmax(-1).flatten(0, 1)
    boxes = boxes.float().flatten(0, 1)
    labels, true = targets.labels.repeat(sets, 1), targets.boxes.repeat(sets, 1, 1)
    class_cost = -probabilities.gather(2, labels[:, None, :].expand(-1, probabilities.shape[1], -1))
    pairs = boxes[:, :, None], true[:, None]
    l1_cost = (pairs[0] - pairs[1]).abs().sum(-1)
    cost = CLASS_WEIGHT * class_cost + L1_WEIGHT * l1_cost - GIOU_WEIGHT * generalized_iou(*pairs)
    if bias is not None:
        cost = cost + bias.repeat(sets, 1, 1)
    return assigned(cost, targets.counts * sets)


def assigned(cost: Tensor, counts: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """The assignment of least cost of objects to queries, row by row.

    Args:
        cost: (rows, queries, T), of which row r has `counts[r]` objects.
        counts: at most as many as there are queries.

    Returns:
        Row, query and object of each pair.
    """
    costs = cost.numpy()
    where, queries, items = [], [], []
    for row, count in enumerate(counts):
        query, item = linear_sum_assignment(costs[row, :, :count])
        where.extend([row] * len(query))
        queries.extend(query.tolist())
        items.extend(item.tolist())
    return torch.tensor(where), torch.tensor(queries), torch.tensor(items)
