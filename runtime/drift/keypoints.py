"""Drift of keypoints: an engine's places against PyTorch's, and both against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.drift.metric import DROP, Estimate, Metric, bootstrapped, check_finite
from runtime.drift.sure import REFERENCE_SCORE

_NEAR = 0.01  # of the frame's longer side: the same place
_KAPPA = 0.1  # of OKS, for every point; COCO's own, of its 17, are 0.05 to 0.21
_FIGURE_SHARE = 0.1  # of the longer side of the true points' bounds: found

METRICS = {
    "pck_vs_reference": Metric("Keypoints within 1 % of PyTorch's", True),
    "oks_vs_reference": Metric("OKS against PyTorch's keypoints, mean", True),
    "pck_drop": Metric("PCK@0.1 drop", False, DROP, True),
}


@dataclass(frozen=True, eq=False)
class Pose:
    """The keypoints of one image, in the form in which they are compared.

    Attributes:
        points: (K, 2), x and y in pixels.
        scores: (K,), in 0..1; NaN where there is no answer.
        frame_size: (height, width) in pixels.
    """

    points: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    frame_size: tuple[int, int]


def estimate(
    reference: Sequence[Pose], candidate: Sequence[Pose], labels: Any, seed: int
) -> dict[str, Estimate]:
    """See `metric.Estimator`; labels are true points (K, 2), NaN where they are not seen."""
    places, scores = _stacked(reference)
    check_finite("reference keypoints", places)
    check_finite("reference scores", scores)
    sure = np.asarray(scores >= REFERENCE_SCORE)
    sides = np.array([pose.frame_size for pose in reference], np.float64)
    apart = _apart(_answers(candidate), places)
    near = (sure & (apart <= _NEAR * sides.max(1, keepdims=True))).sum(1)
    alike = np.where(sure, _similarity(apart, sides.prod(1)), 0.0).sum(1)
    # An image's OKS is the mean over its points; images without any do not count.
    alike = alike / np.maximum(sure.sum(1), 1)
    before, seen = (None, None) if labels is None else correct(reference, labels)
    after = None if labels is None else correct(candidate, labels)[0]

    def statistics(counts: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
        rows = {
            "pck_vs_reference": _ratio(counts, near, sure.sum(1)),
            "oks_vs_reference": _ratio(counts, alike, np.asarray(sure.any(1))),
        }
        if before is not None and after is not None and seen is not None:
            rows["pck_drop"] = _ratio(counts, before - after, seen)
        return rows

    return bootstrapped(statistics, len(reference), METRICS, seed)


def correct(
    poses: Sequence[Pose], truths: Sequence[npt.NDArray[Any]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """How many true points (K, 2) of each image are found, and how many are seen: (images,) each.

    PCK@0.1 (Yang and Ramanan 2013): within a tenth of the longer side of the true points' bounds.
    """
    points = np.stack(truths).astype(np.float64)
    seen = np.asarray(np.isfinite(points).all(2))
    spans = np.where(seen[..., None], points, np.nan)
    empty = ~seen.any(1)
    spans[empty] = 0.0
    size = (np.nanmax(spans, axis=1) - np.nanmin(spans, axis=1)).max(1, keepdims=True)
    found = seen & (_apart(_answers(poses), points) <= _FIGURE_SHARE * size)
    return found.sum(1), seen.sum(1)


def _similarity(
    apart: npt.NDArray[np.float64], areas: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """COCO's object keypoint similarity exp(-d² / 2 s² κ²) of distances (images, K) in pixels.

    s² is the frame's area, as a frame is a cut-out of its figure, and κ = 0.1.
    Source: https://cocodataset.org/#keypoints-eval.
    """
    return np.exp(-(apart**2) / (2 * areas[:, None] * _KAPPA**2))


def _stacked(poses: Sequence[Pose]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Places (images, K, 2) and scores (images, K)."""
    places = np.stack([pose.points for pose in poses]).astype(np.float64)
    return places, np.stack([pose.scores for pose in poses]).astype(np.float64)


def _answers(poses: Sequence[Pose]) -> npt.NDArray[np.float64]:
    """Places (images, K, 2), NaN where the score is not finite: there is no answer."""
    places, scores = _stacked(poses)
    return np.where(np.isfinite(scores)[..., None], places, np.nan)


def _apart(
    places: npt.NDArray[np.float64], wanted: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Distances in pixels (images, K), infinite where there is no answer or nothing to find."""
    if places.shape != wanted.shape:
        raise ValueError(
            f"found keypoints of shape {places.shape}, expected {wanted.shape}: images, points, 2"
        )
    distances = np.linalg.norm(places - wanted, axis=2)
    return np.where(np.isfinite(distances), distances, np.inf)


def _ratio(
    counts: npt.NDArray[np.float64], parts: npt.NDArray[Any], wholes: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """Parts of wholes over weighted sets of images; NaN where there is nothing."""
    whole = counts @ wholes.astype(np.float64)
    return np.where(whole > 0, counts @ parts / np.where(whole > 0, whole, 1.0), np.nan)
