"""Drift of a detector: its boxes against PyTorch's, and both against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.drift.average_precision import average_precision, mean_overlap
from runtime.drift.matching import Boxes, match
from runtime.drift.metric import DROP, Estimate, Metric, bootstrapped
from runtime.drift.sure import check_reference, sure

METRICS = {
    "ap50_vs_reference": Metric("AP50 against PyTorch's boxes", True),
    "ap_vs_reference": Metric("AP50:95 against PyTorch's boxes", True),
    "box_iou": Metric("IoU of matched boxes, mean", True),
    "ap50_drop": Metric("AP50 drop", False, DROP, True),
    "ap_drop": Metric("AP50:95 drop", False, DROP, True),
}


@dataclass(frozen=True)
class _Confident:
    """The ground truth that a reference stands for."""

    boxes: npt.NDArray[Any]
    scores: npt.NDArray[Any]
    indices: npt.NDArray[Any]

    @classmethod
    def of(cls, found: Boxes) -> _Confident:
        chosen = sure(found)
        return cls(found.boxes[chosen], found.scores[chosen], found.indices[chosen])


def estimate(
    reference: Sequence[Boxes], candidate: Sequence[Boxes], labels: Any, seed: int
) -> dict[str, Estimate]:
    """See `metric.Estimator`; labels are `Boxes` too, whose scores are not read."""
    check_reference(reference)
    found = match(candidate, [_Confident.of(image) for image in reference])
    labelled = None if labels is None else (match(reference, labels), match(candidate, labels))

    def statistics(counts: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
        ap = average_precision(found, counts)
        rows = {
            "ap50_vs_reference": ap[:, 0],
            "ap_vs_reference": ap.mean(1),
            "box_iou": mean_overlap(found, counts),
        }
        if labelled is not None:
            before, after = labelled
            drop = average_precision(before, counts) - average_precision(after, counts)
            rows |= {"ap50_drop": drop[:, 0], "ap_drop": drop.mean(1)}
        return rows

    return bootstrapped(statistics, len(reference), METRICS, seed)
