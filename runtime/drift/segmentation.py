"""Drift of a segmentation: its class maps against PyTorch's, and both against the truth.

Intersection over union is of a class's pixels in all images together, as Cityscapes and ADE20K
define it, and its mean is over the classes that the reference (or the truth) shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.drift.metric import DROP, Estimate, Metric, bootstrapped, mean

ClassMap = npt.NDArray[Any]
Counts = npt.NDArray[np.float64]

METRICS = {
    "miou_vs_reference": Metric("Mean IoU against PyTorch's classes", True),
    "pixel_agreement": Metric("Pixels of PyTorch's class, mean", True),
    "miou_drop": Metric("Mean IoU drop", False, DROP, True),
}


class Overlaps(NamedTuple):
    """Pixels of each class in each image, each (N, classes).

    Attributes:
        both: in the truth and in what was found.
        truth: in the truth.
        found: in what was found, where the truth is known.
    """

    both: Counts
    truth: Counts
    found: Counts


def no_class(classes: ClassMap) -> int:
    """The value that stands for no class: 255 of uint8, 65535 of uint16."""
    return int(np.iinfo(classes.dtype).max)


def overlaps(truths: Sequence[ClassMap], found: Sequence[ClassMap], classes: int) -> Overlaps:
    """Counts the pixels of `classes` classes.

    Args:
        truths: class indices (H, W) of each image; `no_class` where they are not known, which
            does not count at all.
        found: likewise; `no_class` is wrong everywhere.
        classes: greater than every index.

    Raises:
        ValueError: maps of one image that differ in size.
    """
    rows: list[list[Counts]] = []
    for truth, other in zip(truths, found, strict=True):
        if truth.shape != other.shape:
            raise ValueError(
                f"found a class map of {other.shape[0]} x {other.shape[1]} pixels, expected "
                f"{truth.shape[0]} x {truth.shape[1]}: give maps of the frame's size"
            )
        known = truth != no_class(truth)
        wanted, given = truth[known], other[known]
        same = wanted[wanted == given]
        rows.append([_histogram(values, classes) for values in (same, wanted, given)])
    return Overlaps(*np.array(rows).swapaxes(0, 1))


def mean_iou(pixels: Overlaps, counts: Counts) -> Counts:
    """Mean IoU of weighted image sets, (rows,); NaN of a set in which the truth shows nothing.

    Args:
        pixels: of N images.
        counts: (rows, N), how often each image is in the set.
    """
    both, truth, found = (counts @ part for part in pixels)
    shown = truth > 0
    union = truth + found - both
    iou = np.where(shown, both / np.where(shown, union, 1), 0).sum(axis=1)
    number = shown.sum(axis=1)
    return np.where(number > 0, iou / np.maximum(number, 1), np.nan)


def estimate(
    reference: Sequence[ClassMap], candidate: Sequence[ClassMap], labels: Any, seed: int
) -> dict[str, Estimate]:
    """See `metric.Estimator`: of each image a class map (H, W), uint8 or uint16.

    `no_class` is what logits give that are not finite.
    """
    broken = [index for index, classes in enumerate(reference) if _holds_none(classes)]
    if broken:
        raise ValueError(
            f"found NaN or infinity in the reference logits of {len(broken)} images (first: "
            f"{broken[0]}), expected finite numbers: the PyTorch model itself is broken"
        )
    maps = [*reference, *candidate, *(labels or ())]
    classes = 1 + max(int(known.max()) for known in map(_known, maps) if known.size)
    against_reference = overlaps(reference, candidate, classes)
    labelled = None
    if labels is not None:
        labelled = overlaps(labels, reference, classes), overlaps(labels, candidate, classes)

    def statistics(counts: Counts) -> dict[str, Counts]:
        rows = {"miou_vs_reference": mean_iou(against_reference, counts)}
        if labelled is not None:
            rows["miou_drop"] = mean_iou(labelled[0], counts) - mean_iou(labelled[1], counts)
        return rows

    shares = against_reference.both.sum(axis=1) / against_reference.truth.sum(axis=1)
    return bootstrapped(statistics, len(reference), METRICS, seed) | {
        "pixel_agreement": mean(shares, METRICS["pixel_agreement"], seed)
    }


def _histogram(values: ClassMap, classes: int) -> Counts:
    return np.bincount(values[values < classes], minlength=classes).astype(np.float64)


def _holds_none(classes: ClassMap) -> bool:
    return bool((classes == no_class(classes)).any())


def _known(classes: ClassMap) -> ClassMap:
    return np.asarray(classes[classes != no_class(classes)])
