"""Average precision as COCO defines it, with image weights so that a bootstrap is cheap.

Precision is made non-increasing in recall and averaged at the recalls 0, 0.01 ... 1; classes
without ground truth do not count. Source: T.-Y. Lin et al., "Microsoft COCO: Common Objects in
Context" (2014), and its evaluation server. Unlike the reference implementation, recalls are
compared as whole numbers, not as rounded quotients.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from runtime.drift.matching import THRESHOLDS, ClassMatches

_RECALL_STEPS = 100


def average_precision(
    matches: Sequence[ClassMatches], counts: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """AP of weighted image sets at each IoU of `THRESHOLDS`, averaged over classes.

    Args:
        matches: from `match`.
        counts: (rows, N), whole numbers: how often each image is in the set.

    Returns:
        (rows, 10), of which the first column is AP50 and the mean is AP at IoU 0.50:0.95; NaN
        where a set has no ground truth.
    """
    total = np.zeros((len(counts), len(THRESHOLDS)))
    classes = np.zeros((len(counts), 1))
    for found in matches:
        truths = (counts @ found.truths)[:, None]
        weights = counts[:, found.images]
        seen = weights.cumsum(1)
        for column, hits in enumerate(found.hits):
            total[:, column] += _interpolated(weights, seen, hits, truths)
        classes += truths > 0
    return np.where(classes > 0, total / np.maximum(classes, 1), np.nan)


def mean_overlap(
    matches: Sequence[ClassMatches], counts: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Mean IoU of the matched detections of weighted image sets (rows, N): (rows,); NaN if none."""
    total, number = np.zeros(len(counts)), np.zeros(len(counts))
    for found in matches:
        weights = counts[:, found.images]
        total += weights @ found.overlaps
        number += weights @ found.hits[0]
    return np.where(number > 0, total / np.where(number > 0, number, 1), np.nan)


def _interpolated(
    weights: npt.NDArray[np.float64],
    seen: npt.NDArray[np.float64],
    hits: npt.NDArray[np.bool_],
    truths: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """The 101-point AP of one class (rows,), 0 without truths.

    Shapes: weights and their running sum (rows, D), hits (D,), truths (rows, 1).
    """
    if not hits.any():
        return np.zeros(len(weights))
    # Precision peaks and recall rises at hits only, so the other columns need not be looked at.
    right = weights[:, hits].cumsum(1)
    precision = right / np.maximum(seen[:, hits], 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # Each detection is worth its envelope at the recall steps that it is the first to reach; the
    # first one also reaches recall 0. The quotient of whole numbers is exact where it is whole.
    reached = np.floor(_RECALL_STEPS * right / np.maximum(truths, 1))
    steps = np.diff(reached, axis=1, prepend=-1)
    ap: npt.NDArray[np.float64] = (envelope * steps).sum(1) / (_RECALL_STEPS + 1)
    return np.where(truths[:, 0] > 0, ap, 0.0)
