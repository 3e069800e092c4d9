"""Drift of instances: an engine's masks and boxes against PyTorch's, and both against the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from runtime.drift.average_precision import average_precision, mean_overlap
from runtime.drift.matching import Boxes, ClassMatches, match
from runtime.drift.metric import DROP, Estimate, Metric, bootstrapped
from runtime.drift.sure import check_reference, sure
from runtime.tasks.cutouts import Cutout, mask_iou

METRICS = {
    "mask_ap50_vs_reference": Metric("Mask AP50 against PyTorch's instances", True),
    "mask_ap_vs_reference": Metric("Mask AP50:95 against PyTorch's instances", True),
    "mask_iou": Metric("IoU of matched masks, mean", True),
    "box_ap50_vs_reference": Metric("Box AP50 against PyTorch's instances", True),
    "box_ap_vs_reference": Metric("Box AP50:95 against PyTorch's instances", True),
    "mask_ap50_drop": Metric("Mask AP50 drop", False, DROP, True),
    "mask_ap_drop": Metric("Mask AP50:95 drop", False, DROP, True),
    "box_ap50_drop": Metric("Box AP50 drop", False, DROP, True),
}


class Masked(Boxes, Protocol):
    """The instances, or the ground truth, of one image: boxes, scores, class indices, and masks."""

    @property
    def masks(self) -> Sequence[Cutout]:
        """One for each box."""


@dataclass(frozen=True)
class _Confident:
    """The ground truth that a reference stands for."""

    boxes: npt.NDArray[Any]
    scores: npt.NDArray[Any]
    indices: npt.NDArray[Any]
    masks: Sequence[Cutout]

    @classmethod
    def of(cls, found: Masked) -> _Confident:
        chosen = sure(found)
        masks = [found.masks[index] for index in chosen.tolist()]
        return cls(found.boxes[chosen], found.scores[chosen], found.indices[chosen], masks)


def mask_overlap(found: Masked, truth: Masked) -> npt.NDArray[np.float64]:
    """IoU of the masks of one image, (A, B)."""
    return mask_iou(found.masks, truth.masks)


def estimate(
    reference: Sequence[Masked], candidate: Sequence[Masked], labels: Any, seed: int
) -> dict[str, Estimate]:
    """See `metric.Estimator`; labels are `Masked` too, whose scores are not read."""
    check_reference(reference)
    masks, boxes = _matches(candidate, [_Confident.of(image) for image in reference])
    before = None if labels is None else _matches(reference, labels)
    after = None if labels is None else _matches(candidate, labels)

    def statistics(counts: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
        mask_ap, box_ap = average_precision(masks, counts), average_precision(boxes, counts)
        rows = {
            "mask_ap50_vs_reference": mask_ap[:, 0],
            "mask_ap_vs_reference": mask_ap.mean(1),
            "mask_iou": mean_overlap(masks, counts),
            "box_ap50_vs_reference": box_ap[:, 0],
            "box_ap_vs_reference": box_ap.mean(1),
        }
        if before is not None and after is not None:
            rows |= _drops(before, after, counts)
        return rows

    return bootstrapped(statistics, len(reference), METRICS, seed)


def _matches(
    found: Sequence[Masked], truths: Sequence[Masked]
) -> tuple[list[ClassMatches], list[ClassMatches]]:
    """By masks, and by boxes."""
    return match(found, truths, mask_overlap), match(found, truths)


def _drops(
    before: tuple[list[ClassMatches], list[ClassMatches]],
    after: tuple[list[ClassMatches], list[ClassMatches]],
    counts: npt.NDArray[np.float64],
) -> Mapping[str, npt.NDArray[np.float64]]:
    masks, boxes = (
        average_precision(one, counts) - average_precision(other, counts)
        for one, other in zip(before, after, strict=True)
    )
    return {
        "mask_ap50_drop": masks[:, 0],
        "mask_ap_drop": masks.mean(1),
        "box_ap50_drop": boxes[:, 0],
    }
