"""Drift of an autoregressive model of pixels: its tokens, likelihoods and features.

A token is the most probable one of a pixel, given the true pixels before it; of a completion, given
those that the model itself has chosen, so that one that differs may change all after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.drift.classification import logit_cosine
from runtime.drift.intervals import Interval
from runtime.drift.metric import Estimate, Metric, check_finite, mean

MOST_NATS = 100.0
"""What a pixel counts of which the model says nothing finite, or something yet less probable."""

METRICS = {
    "token_agreement": Metric("Pixels of PyTorch's most probable colour, mean", True),
    "nll_difference": Metric("Difference of NLL, nats a pixel", False, Interval(0.0, MOST_NATS)),
    "feature_cosine": Metric("Cosine of the features, mean", True, Interval(-1.0, 1.0)),
    "completion_agreement": Metric("Completed pixels of PyTorch's colour, mean", True),
}


class PixelAnswer(NamedTuple):
    """What is compared of an image.

    Attributes:
        tokens: int64 (N,), the most probable ones; -1 where the logits are not finite.
        nats: a pixel, mean.
        features: (D,).
        completion: int64 (n,), chosen one after another; empty where none was made.
    """

    tokens: npt.NDArray[np.int64]
    nats: float
    features: npt.NDArray[np.float32]
    completion: npt.NDArray[np.int64]


def estimate(
    reference: Sequence[PixelAnswer], candidate: Sequence[PixelAnswer], labels: object, seed: int
) -> dict[str, Estimate]:
    """See `metric.Estimator`; there are no labels, as every image is its own truth."""
    left, right = (np.array([answer.nats for answer in found]) for found in (reference, candidate))
    features = [np.array([answer.features for answer in found]) for found in (reference, candidate)]
    check_finite("reference's likelihoods", left)
    check_finite("reference's features", features[0])
    nats = np.abs(np.nan_to_num(right, nan=MOST_NATS, posinf=MOST_NATS) - left)
    pairs = list(zip(reference, candidate, strict=True))
    shares = np.array([np.mean(a.tokens == b.tokens) for a, b in pairs])
    found = {
        "token_agreement": mean(shares, METRICS["token_agreement"], seed),
        "nll_difference": mean(np.minimum(nats, MOST_NATS), METRICS["nll_difference"], seed),
        "feature_cosine": logit_cosine(features[0], features[1], seed=seed),
    }
    if all(len(answer.completion) for answer in (*reference, *candidate)):
        shares = np.array([np.mean(a.completion == b.completion) for a, b in pairs])
        found["completion_agreement"] = mean(shares, METRICS["completion_agreement"], seed)
    return found
