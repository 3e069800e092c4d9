"""Drift of embeddings: where they lie, what lies next to them, and which class they give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.drift.classification import logit_cosine, top1_accuracy_drop, top1_agreement
from runtime.drift.intervals import Interval, wilson
from runtime.drift.metric import DROP, Estimate, Metric, check_finite

Vectors = npt.NDArray[np.float32]

METRICS = {
    "embedding_cosine": Metric("Cosine to PyTorch's embedding, mean", True, Interval(-1.0, 1.0)),
    "retrieval_agreement": Metric("Nearest other item is PyTorch's", True, method="wilson"),
    "zero_shot_agreement": Metric("Zero-shot class is PyTorch's", True, method="wilson"),
    "zero_shot_accuracy_drop": Metric("Zero-shot accuracy drop", False, DROP, True, "paired"),
}
_SAME = 1 - 1e-6  # the cosine of what is one item given twice, computed in another order of sums


class Embedded(NamedTuple):
    """An item's embedding (D,), and logits (classes,) of its zero-shot class where there are any.

    Those of an engine come from its own embeddings of the prompts.
    """

    embeds: npt.NDArray[Any]
    logits: npt.NDArray[Any] | None = None


def estimate(
    reference: Sequence[Embedded], candidate: Sequence[Embedded], labels: Any, seed: int
) -> dict[str, Estimate]:
    """See `metric.Estimator`; labels are class indices.

    Retrieval needs two items that differ, zero-shot classes need logits.
    """
    left, right = _stacked("embeds", reference, candidate)
    estimates = {"embedding_cosine": logit_cosine(left, right, seed=seed)}
    retrieval = retrieval_agreement(left, right)
    if retrieval is not None:
        estimates["retrieval_agreement"] = retrieval
    if reference[0].logits is not None:
        left, right = _stacked("logits", reference, candidate)
        estimates["zero_shot_agreement"] = top1_agreement(left, right)
        if labels is not None:
            drop = top1_accuracy_drop(left, right, np.asarray(labels))
            estimates["zero_shot_accuracy_drop"] = drop
    return estimates


def retrieval_agreement(reference: Vectors, candidate: Vectors) -> Estimate | None:
    """The share of items (N, D) whose nearest other item, by cosine, is the same.

    Both sides search among their own embeddings of all items. What PyTorch embeds as it does the
    query is the query again, and no answer; None where nothing else is there. An item whose
    candidate embedding is not finite finds nothing and is not found. Wilson's interval is that of
    other queries among the same items.
    """
    wanted = _cosines(reference)
    others = np.asarray(wanted < _SAME)
    queries = np.asarray(others.any(axis=1))
    if not queries.any():
        return None
    finite = np.asarray(np.isfinite(candidate).all(axis=1))
    found = _cosines(np.where(finite[:, None], candidate, 0.0))
    best, ours = (
        np.where(allowed, cosines, -2.0).argmax(axis=1)
        for allowed, cosines in ((others, wanted), (others & finite, found))
    )
    alike = np.asarray(wanted[best, ours] >= _SAME)
    agree = (alike & finite)[queries]
    return float(agree.mean()), wilson(int(agree.sum()), len(agree))


def _cosines(vectors: Vectors) -> npt.NDArray[np.float64]:
    """(N, D) to (N, N); 0 where a vector is 0."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit = vectors / np.where(lengths > 0, lengths, 1.0)
    found: npt.NDArray[np.float64] = unit @ unit.T
    return found


def _stacked(
    name: str, reference: Sequence[Embedded], candidate: Sequence[Embedded]
) -> tuple[Vectors, Vectors]:
    left, right = (
        np.asarray([getattr(answer, name) for answer in answers], np.float32)
        for answers in (reference, candidate)
    )
    if left.ndim != 2 or left.shape != right.shape:
        raise ValueError(
            f"found candidate {name} of shape {right.shape}, expected the reference's {left.shape}"
        )
    check_finite(f"reference {name}", left)
    return left, right
