"""Measures an engine's outputs against the PyTorch model's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.drift.bootstrap import MIN_IMAGES, percentile_interval, resample_counts
from runtime.drift.detection import average_precision, mean_overlap
from runtime.drift.limits import METRICS, check_limits, metric_named
from runtime.drift.matching import Boxes, match
from runtime.drift.metrics import Estimate, Logits, logit_cosine, top1_accuracy_drop, top1_agreement
from runtime.drift.verdict import DriftReport, judge

REFERENCE_SCORE = 0.5
"""The reference's detections of at least this score are the ground truth of ap*_vs_reference."""


def measure(
    task: str,
    reference: Any,
    candidate: Any,
    *,
    labels: Any = None,
    limits: Mapping[str, float] | None = None,
    seed: int = 0,
) -> DriftReport:
    """Measures every metric of a task and judges those that have a limit.

    Args:
        task: "classification" or "detection".
        reference: PyTorch's outputs. Classification: a mapping with "logits" (N, classes), or one
            (classes,) array an image. Detection: one `matching.Boxes` an image, with all
            detections of score 0.05 and more, since AP ranks the weak ones too.
        candidate: the engine's outputs for the same images in the same order.
        labels: classification: class indices (N,); detection: one `matching.Boxes` an image,
            whose scores are not read; None where there are none.
        limits: metric name -> limit; metrics without one are reported as "info".
        seed: of the bootstrap.

    Raises:
        ValueError: no images, different numbers of images, unknown limits, or a reference that is
            not finite. (A candidate that is not finite is drift, and is measured as such.)
    """
    started = time.perf_counter()
    limits = dict(limits or {})
    check_limits(task, limits)
    estimate = {"classification": _classification, "detection": _detection}[task]
    estimates, images = estimate(reference, candidate, labels, seed)
    measurements = tuple(
        judge(name, *estimates[name], limits.get(name), images)
        for name in METRICS[task]
        if name in estimates
    )
    unmeasured = tuple(name for name in limits if name not in estimates)
    return DriftReport(task, measurements, images, time.perf_counter() - started, unmeasured)


def _classification(
    reference: Any, candidate: Any, labels: Any, seed: int
) -> tuple[dict[str, Estimate], int]:
    left, right = _logits(reference), _logits(candidate)
    _check_counts(len(left), len(right), labels)
    if left.shape != right.shape:
        raise ValueError(
            f"found candidate logits of shape {right.shape}, expected the reference's {left.shape}"
        )
    _check_finite("reference logits", left)
    estimates = {
        "top1_agreement": top1_agreement(left, right),
        "logit_cosine": logit_cosine(left, right, seed=seed),
    }
    if labels is not None:
        estimates["top1_accuracy_drop"] = top1_accuracy_drop(left, right, np.asarray(labels))
    return estimates, len(left)


def _logits(outputs: Any) -> Logits:
    if isinstance(outputs, Mapping):
        if "logits" not in outputs:
            raise ValueError(f"found the outputs {sorted(outputs)}, expected one named 'logits'")
        outputs = outputs["logits"]
    logits = np.asarray(outputs, dtype=np.float32)
    if logits.ndim != 2 and logits.size:
        raise ValueError(f"found logits of shape {logits.shape}, expected (images, classes)")
    return logits


def _check_counts(reference: int, candidate: int, labels: Any) -> None:
    if reference == 0:
        raise ValueError("found 0 images, expected at least 1: give images to measure on")
    given = {"candidate": candidate} | ({} if labels is None else {"labels": len(labels)})
    for name, count in given.items():
        if count != reference:
            raise ValueError(f"found {count} images in {name}, expected the {reference} reference")


def _check_finite(name: str, values: npt.NDArray[Any]) -> None:
    bad = ~np.isfinite(values).reshape(len(values), -1).all(1)
    if bad.any():
        raise ValueError(
            f"found NaN or infinity in the {name} of {int(bad.sum())} images (first: "
            f"{int(bad.argmax())}), expected finite numbers: the PyTorch model itself is broken"
        )


@dataclass(frozen=True)
class _Confident:
    """The ground truth that a reference stands for."""

    boxes: npt.NDArray[Any]
    scores: npt.NDArray[Any]
    indices: npt.NDArray[Any]

    @classmethod
    def of(cls, found: Boxes) -> _Confident:
        sure = np.asarray(found.scores) >= REFERENCE_SCORE
        return cls(found.boxes[sure], found.scores[sure], found.indices[sure])


def _detection(
    reference: Sequence[Boxes], candidate: Sequence[Boxes], labels: Any, seed: int
) -> tuple[dict[str, Estimate], int]:
    n = len(reference)
    _check_counts(n, len(candidate), labels)
    for name in ("boxes", "scores"):
        values = [np.ravel(getattr(found, name)).sum(keepdims=True) for found in reference]
        _check_finite(f"reference {name}", np.stack(values))
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

    return _with_intervals(statistics, n, seed), n


def _with_intervals(
    statistics: Callable[[npt.NDArray[np.float64]], dict[str, npt.NDArray[np.float64]]],
    n: int,
    seed: int,
) -> dict[str, Estimate]:
    once = statistics(np.ones((1, n)))
    values = {name: float(rows[0]) for name, rows in once.items()}
    if n < MIN_IMAGES:
        return {name: (value, metric_named(name).bounds) for name, value in values.items()}
    samples = [statistics(counts) for counts in resample_counts(n, seed=seed)]
    return {
        name: (
            value,
            percentile_interval(value, np.concatenate([rows[name] for rows in samples]))
            or metric_named(name).bounds,
        )
        for name, value in values.items()
    }
