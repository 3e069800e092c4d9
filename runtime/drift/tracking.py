"""Drift of a tracker: whether its tracks keep the identities of PyTorch's, and of the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.drift.identity import Row, compare, idf1, mota
from runtime.drift.intervals import Interval
from runtime.drift.metric import DROP, Estimate, Metric, bootstrapped, check_finite

_MOST_DROP = 1e3  # MOTA has no least value: false tracks may be any number

METRICS = {
    "idf1_vs_reference": Metric("IDF1 against PyTorch's tracks", True),
    "idf1_drop": Metric("IDF1 drop", False, DROP, True),
    "mota_drop": Metric("MOTA drop", False, Interval(-_MOST_DROP, _MOST_DROP), True),
}


def estimate(
    reference: Sequence[Sequence[Row]],
    candidate: Sequence[Sequence[Row]],
    labels: Any,
    seed: int,
) -> dict[str, Estimate]:
    """See `metric.Estimator`: of each clip the tracks of its frames; labels are such too.

    Shares are of all clips together, which the bootstrap draws as wholes.
    """
    sums = [sum(float(row.boxes.sum()) for row in clip) for clip in reference]
    check_finite("reference's tracks", np.array(sums))
    against_reference = _counts(reference, candidate)
    labelled = None
    if labels is not None:
        labelled = _counts(labels, reference), _counts(labels, candidate)

    def statistics(draws: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
        rows = {"idf1_vs_reference": idf1(draws @ against_reference)}
        if labelled is not None:
            before, after = (draws @ counts for counts in labelled)
            rows["idf1_drop"] = idf1(before) - idf1(after)
            rows["mota_drop"] = mota(before) - mota(after)
        return rows

    return bootstrapped(statistics, len(reference), METRICS, seed)


def _counts(
    truths: Sequence[Sequence[Row]], found: Sequence[Sequence[Row]]
) -> npt.NDArray[np.float64]:
    """`identity.Counts` of each clip, (clips, 6)."""
    return np.array([compare(*pair) for pair in zip(truths, found, strict=True)], np.float64)
