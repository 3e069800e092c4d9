"""Drift of a classifier: its logits against PyTorch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.drift.intervals import Interval, paired_difference, wilson
from runtime.drift.metric import DROP, Estimate, Metric, check_finite, mean

Logits = npt.NDArray[np.float32]

METRICS = {
    "top1_agreement": Metric("Top-1 agreement with PyTorch", True, method="wilson"),
    "logit_cosine": Metric("Cosine of the logits, mean", True, Interval(-1.0, 1.0)),
    "top1_accuracy_drop": Metric("Top-1 accuracy drop", False, DROP, True, "paired"),
}


def estimate(
    reference: Sequence[Any], candidate: Sequence[Any], labels: Any, seed: int
) -> dict[str, Estimate]:
    """See `metric.Estimator`: of each image the logits (classes,); labels are class indices."""
    left, right = _logits(reference), _logits(candidate)
    if left.shape != right.shape:
        raise ValueError(
            f"found candidate logits of shape {right.shape}, expected the reference's {left.shape}"
        )
    check_finite("reference logits", left)
    estimates = {
        "top1_agreement": top1_agreement(left, right),
        "logit_cosine": logit_cosine(left, right, seed=seed),
    }
    if labels is not None:
        estimates["top1_accuracy_drop"] = top1_accuracy_drop(left, right, np.asarray(labels))
    return estimates


def top1_agreement(reference: Logits, candidate: Logits) -> Estimate:
    """The share of images (N, classes) whose best class is the same, with Wilson's interval.

    An image whose candidate logits are not all finite disagrees.
    """
    agree = (reference.argmax(1) == candidate.argmax(1)) & _finite_images(candidate)
    count, n = int(agree.sum()), len(agree)
    return count / n, wilson(count, n)


def logit_cosine(reference: Logits, candidate: Logits, *, seed: int = 0) -> Estimate:
    """The mean over images (N, classes) of the cosine between logits, with a bootstrap interval.

    An image whose candidate logits are not all finite has cosine 0.
    """
    finite = _finite_images(candidate)
    left = reference.astype(np.float64)
    right = np.where(finite.reshape(-1, 1), candidate, 0.0).astype(np.float64)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    products = (left * right).sum(1)
    # A zero vector has no direction: it counts as alike only where both are zero.
    same = finite & (np.abs(left - right).max(1) == 0)
    cosines = np.where(norms > 0, products / np.where(norms > 0, norms, 1.0), same)
    cosines = np.clip(cosines, -1.0, 1.0)
    return mean(cosines, METRICS["logit_cosine"], seed)


def top1_accuracy_drop(
    reference: Logits, candidate: Logits, labels: npt.NDArray[np.int64]
) -> Estimate:
    """Top-1 accuracy of the reference minus the candidate's, as a fraction, on labels (N,).

    An image whose candidate logits are not all finite is wrong.
    """
    before = reference.argmax(1) == labels
    after = (candidate.argmax(1) == labels) & _finite_images(candidate)
    losses, gains, n = int((before & ~after).sum()), int((after & ~before).sum()), len(labels)
    return (losses - gains) / n, paired_difference(losses, gains, n)


def _logits(outputs: Any) -> Logits:
    logits = np.asarray(outputs, dtype=np.float32)
    if logits.ndim != 2:
        raise ValueError(f"found logits of shape {logits.shape}, expected (images, classes)")
    return logits


def _finite_images(logits: Logits) -> npt.NDArray[np.bool_]:
    return np.asarray(np.isfinite(logits).all(axis=1))
