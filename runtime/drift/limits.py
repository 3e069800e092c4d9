"""The metrics that a limit can name, by task."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping

from runtime.drift.metric import Metric
from runtime.tasks import TASKS, find_task

METRICS = {name: find_task(name).drift.metrics for name in TASKS}
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
            unit = " (shares and drops are fractions: 0.01 is one point)" if high <= 1 else ""
            raise ValueError(
                f"found drift limit {name} = {limit!r}, expected a number from {low:g} to "
                f"{high:g}{unit}"
            )


def _unknown(kind: str, name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"known: {', '.join(known)}"
    return f"unknown {kind} {name!r}: {hint}"
