"""What a drift metric is, and what the metrics of a task have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from runtime.drift.bootstrap import (
    MIN_IMAGES,
    bootstrap_mean,
    percentile_interval,
    resample_counts,
)
from runtime.drift.intervals import Interval

SHARE = Interval(0.0, 1.0)
"""Bounds of a share of images or objects."""
DROP = Interval(-1.0, 1.0)
"""Bounds of a difference of two shares."""
Estimate = tuple[float, Interval]
"""A metric's value, NaN where it is undefined, and its 95 % confidence interval."""


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
    bounds: Interval = SHARE
    needs_labels: bool = False
    method: Literal["wilson", "paired", "bootstrap"] = "bootstrap"


class Estimator(Protocol):
    """Measures a task's metrics."""

    def __call__(
        self, reference: Sequence[Any], candidate: Sequence[Any], labels: Any, seed: int
    ) -> dict[str, Estimate]:
        """Every metric that can be measured, by name.

        Args:
            reference: PyTorch's answers, one an image, in the form of the task; at least one.
            candidate: the engine's to the same images.
            labels: the truth of each image; None where there is none.
            seed: of the bootstrap.

        Raises:
            ValueError: answers that cannot be compared, or a reference that is not finite. (A
                candidate that is not finite is drift, and is measured as such.)
        """


def bootstrapped(
    statistics: Callable[[npt.NDArray[np.float64]], Mapping[str, npt.NDArray[np.float64]]],
    images: int,
    metrics: Mapping[str, Metric],
    seed: int,
) -> dict[str, Estimate]:
    """Estimates of statistics of weighted sets of images.

    Args:
        statistics: how often each image is drawn (rows, images) -> by metric, (rows,) values.
        images: how many there are; fewer than `MIN_IMAGES` give the bounds as the interval.
        metrics: of the task.
        seed: of the bootstrap.
    """
    values = {name: float(rows[0]) for name, rows in statistics(np.ones((1, images))).items()}
    if images < MIN_IMAGES:
        return {name: (value, metrics[name].bounds) for name, value in values.items()}
    samples = [statistics(counts) for counts in resample_counts(images, seed=seed)]
    return {
        name: (
            value,
            percentile_interval(value, np.concatenate([rows[name] for rows in samples]))
            or metrics[name].bounds,
        )
        for name, value in values.items()
    }


def mean(values: npt.NDArray[Any], metric: Metric, seed: int) -> Estimate:
    """The mean over images (N,), with its bootstrap interval; the bounds where these are few."""
    few = len(values) < MIN_IMAGES
    return float(values.mean()), metric.bounds if few else bootstrap_mean(values, seed=seed)


def check_finite(name: str, values: npt.NDArray[Any]) -> None:
    """Refuses (images, …) numbers of the reference that are not finite, with a `ValueError`."""
    bad = ~np.isfinite(values).reshape(len(values), -1).all(1)
    if bad.any():
        raise ValueError(
            f"found NaN or infinity in the {name} of {int(bad.sum())} images (first: "
            f"{int(bad.argmax())}), expected finite numbers: the PyTorch model itself is broken"
        )
