"""Drift of a classifier: its logits against PyTorch's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime.drift.bootstrap import MIN_IMAGES, bootstrap_mean
from runtime.drift.intervals import Interval, paired_difference, wilson
from runtime.drift.limits import metric_named

Logits = npt.NDArray[np.float32]
Estimate = tuple[float, Interval]


def top1_agreement(reference: Logits, candidate: Logits) -> Estimate:
    """The share of images (N, classes) whose best class is the same, with Wilson's interval.

    An image whose candidate logits are not all finite disagrees.
    """
    agree = (reference.argmax(1) == candidate.argmax(1)) & _finite_images(candidate)
    count, n = int(agree.sum()), len(agree)
    return count / n, wilson(count, n)


def logit_cosine(reference: Logits, candidate: Logits, *, seed: int = 0) -> Estimate:
    """The mean over images (N, classes) of the cosine between logits, with a bootstrap interval.

    An image whose candidate logits are not all finite has cosine 0. Below `MIN_IMAGES` the
    interval is everything that a cosine can be.
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
    if len(cosines) < MIN_IMAGES:
        return float(cosines.mean()), metric_named("logit_cosine").bounds
    return float(cosines.mean()), bootstrap_mean(cosines, seed=seed)


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


def _finite_images(logits: Logits) -> npt.NDArray[np.bool_]:
    return np.asarray(np.isfinite(logits).all(axis=1))
