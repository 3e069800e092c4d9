"""Measures an engine's outputs against the PyTorch model's."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from runtime.drift.limits import check_limits
from runtime.drift.verdict import DriftReport, judge
from runtime.tasks import find_task


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
        task: a name of `runtime.tasks.TASKS`.
        reference: PyTorch's answers, one an image, as the task's `comparable` makes them: of a
            classifier the logits (classes,), of a detector `matching.Boxes` with all detections of
            score 0.05 and more, since AP ranks the weak ones too.
        candidate: the engine's answers to the same images in the same order.
        labels: the truth of each image, in the form that the task reads; None where there is none.
        limits: metric name -> limit; metrics without one are reported as "info".
        seed: of the bootstrap.

    Raises:
        ValueError: no images, different numbers of images, unknown limits, or a reference that is
            not finite. (A candidate that is not finite is drift, and is measured as such.)
    """
    started = time.perf_counter()
    limits = dict(limits or {})
    check_limits(task, limits)
    images = _images(reference, candidate, labels)
    drift = find_task(task).drift
    estimates = drift.estimate(reference, candidate, labels, seed)
    measurements = tuple(
        judge(name, *estimates[name], limits.get(name), images)
        for name in drift.metrics
        if name in estimates
    )
    unmeasured = tuple(name for name in limits if name not in estimates)
    return DriftReport(task, measurements, images, time.perf_counter() - started, unmeasured)


def _images(reference: Any, candidate: Any, labels: Any) -> int:
    count = len(reference)
    if count == 0:
        raise ValueError("found 0 images, expected at least 1: give images to measure on")
    given = {"candidate": candidate} | ({} if labels is None else {"labels": labels})
    for name, answers in given.items():
        if len(answers) != count:
            found = len(answers)
            raise ValueError(f"found {found} images in {name}, expected the {count} reference")
    return count
