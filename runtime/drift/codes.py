"""Drift of a model of codes: which codes it chooses, and by what logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.drift.classification import logit_cosine
from runtime.drift.intervals import Interval
from runtime.drift.metric import Estimate, Metric, check_finite, mean

METRICS = {
    "code_agreement": Metric("Codes that are PyTorch's, mean", True),
    "logit_cosine": Metric("Cosine of the logits, mean", True, Interval(-1.0, 1.0)),
}


class CodeAnswer(NamedTuple):
    """What is compared of an item.

    Attributes:
        codes: int64 (n,); of a text, each after those that the model itself has chosen.
        logits: float32, flat, of those codes that depend on no other.
    """

    codes: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]


def estimate(
    reference: Sequence[CodeAnswer], candidate: Sequence[CodeAnswer], labels: object, seed: int
) -> dict[str, Estimate]:
    """See `metric.Estimator`; labels, the pictures of texts, are not read.

    Codes of an item whose candidate logits are not all finite are none of PyTorch's.
    """
    for index, (theirs, ours) in enumerate(zip(reference, candidate, strict=True)):
        shapes = [(one.codes.shape, one.logits.shape) for one in (theirs, ours)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"found codes and logits of shapes {shapes[1]} of item {index}, expected "
                f"{shapes[0]}; build the bundle again"
            )
    left, right = (np.array([one.logits for one in side]) for side in (reference, candidate))
    check_finite("reference logits", left)
    finite = np.isfinite(right).all(axis=1)
    pairs = zip(reference, candidate, finite, strict=True)
    shares = np.array([np.mean(a.codes == b.codes) * sound for a, b, sound in pairs])
    return {
        "code_agreement": mean(shares, METRICS["code_agreement"], seed),
        "logit_cosine": logit_cosine(left, right, seed=seed),
    }
