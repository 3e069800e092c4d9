"""The metrics that a limit can name, by task."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from runtime.drift.intervals import Interval

_SHARE = Interval(0.0, 1.0)
_DROP = Interval(-1.0, 1.0)


@dataclass(frozen=True)
class Metric:
    """What a metric means and how its limit is read.

    Attributes:
        title: for people.
        at_least: True where the limit is a minimum, False where it is a maximum.
        bounds: all values that the metric can take.
        needs_labels: True where it is measured only on labelled images.
        method: how its interval is made: "wilson" (a share of images), "paired" (a difference of
            two shares) or "bootstrap" over images.
    """

    title: str
    at_least: bool
    bounds: Interval = _SHARE
    needs_labels: bool = False
    method: Literal["wilson", "paired", "bootstrap"] = "bootstrap"


METRICS: dict[str, dict[str, Metric]] = {
    "classification": {
        "top1_agreement": Metric("Top-1 agreement with PyTorch", True, method="wilson"),
        "logit_cosine": Metric("Cosine of the logits, mean", True, Interval(-1.0, 1.0)),
        "top1_accuracy_drop": Metric("Top-1 accuracy drop", False, _DROP, True, "paired"),
    },
    "detection": {
        "ap50_vs_reference": Metric("AP50 against PyTorch's boxes", True),
        "ap_vs_reference": Metric("AP50:95 against PyTorch's boxes", True),
        "box_iou": Metric("IoU of matched boxes, mean", True),
        "ap50_drop": Metric("AP50 drop", False, _DROP, True),
        "ap_drop": Metric("AP50:95 drop", False, _DROP, True),
    },
}
"""Task -> metric name -> metric, in the order of a report."""


def metric_named(name: str) -> Metric:
    """Finds a metric of any task.

    Raises:
        ValueError: no task has such a metric; the message has the nearest names.
    """
    every = {key: metric for metrics in METRICS.values() for key, metric in metrics.items()}
    if name not in every:
        raise ValueError(_unknown("drift metric", name, list(every)))
    return every[name]


def check_limits(task: str, limits: Mapping[str, float]) -> None:
    """Refuses limits that a report of this task could not apply.

    Raises:
        ValueError: an unknown task or metric (the message has the nearest names), or a limit that
            is not a number among the metric's values.
    """
    if task not in METRICS:
        raise ValueError(_unknown("task", task, list(METRICS)))
    for name, limit in limits.items():
        if name not in METRICS[task]:
            raise ValueError(_unknown(f"{task} drift metric", name, list(METRICS[task])))
        low, high = METRICS[task][name].bounds
        number = isinstance(limit, int | float) and not isinstance(limit, bool)
        if not number or math.isnan(limit) or not low <= limit <= high:
            raise ValueError(
                f"found drift limit {name} = {limit!r}, expected a number from {low:g} to {high:g}"
                " (shares and drops are fractions: 0.01 is one point)"
            )


def _unknown(kind: str, name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"known: {', '.join(known)}"
    return f"unknown {kind} {name!r}: {hint}"
