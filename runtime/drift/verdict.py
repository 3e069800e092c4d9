"""A measured metric against its limit, and the verdict of all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from runtime.drift.bootstrap import MIN_IMAGES
from runtime.drift.intervals import Interval, z_score
from runtime.drift.limits import metric_named

Verdict = Literal["pass", "fail", "inconclusive", "info"]


@dataclass(frozen=True)
class Measurement:
    """One metric of one engine.

    Attributes:
        name: a key of `limits.METRICS`.
        value: the metric; NaN where the images leave it undefined (AP without a single object).
        low: lower end of the 95 % confidence interval.
        high: upper end of it.
        limit: what it was compared with; None gives the verdict "info".
        at_least: True where the limit is a minimum.
        verdict: "pass" when the whole interval keeps the limit, "fail" when none of it does.
        n: images measured.
    """

    name: str
    value: float
    low: float
    high: float
    limit: float | None
    at_least: bool
    verdict: Verdict
    n: int


@dataclass(frozen=True)
class DriftReport:
    """All that was measured of one engine.

    Attributes:
        task: "classification" or "detection".
        measurements: in the order of `limits.METRICS`.
        images: images measured.
        seconds: how long it took.
        unmeasured: metrics that have a limit but lacked labels to be measured on.
    """

    task: str
    measurements: tuple[Measurement, ...]
    images: int
    seconds: float
    unmeasured: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Fail if any metric fails, else inconclusive if any is, else pass."""
        found = {measurement.verdict for measurement in self.measurements}
        if "fail" in found:
            return "fail"
        return "inconclusive" if "inconclusive" in found else "pass"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with None for an undefined value; `verdict` is for readers."""
        return {
            "task": self.task,
            "verdict": self.verdict,
            "images": self.images,
            "seconds": self.seconds,
            "measurements": [
                {key: _json_number(value) for key, value in asdict(measurement).items()}
                for measurement in self.measurements
            ],
            "unmeasured": list(self.unmeasured),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> DriftReport:
        """The inverse of `to_dict`; verdicts are read, not judged again.

        Raises:
            ValueError: a field is missing or a metric has fields that it should not.
        """
        try:
            measurements = tuple(_measurement(item) for item in record["measurements"])
            return cls(
                task=str(record["task"]),
                measurements=measurements,
                images=int(record["images"]),
                seconds=float(record["seconds"]),
                unmeasured=tuple(record["unmeasured"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a drift report: {error}; rebuild the engine") from error


def judge(name: str, value: float, interval: Interval, limit: float | None, n: int) -> Measurement:
    """Compares a metric's confidence interval with its limit.

    Raises:
        ValueError: the metric is unknown.
    """
    at_least = metric_named(name).at_least
    low, high = interval
    verdict: Verdict
    if limit is None:
        verdict = "info"
    elif math.isnan(value):
        verdict = "inconclusive"
    elif (low >= limit) if at_least else (high <= limit):
        verdict = "pass"
    elif (high < limit) if at_least else (low > limit):
        verdict = "fail"
    else:
        verdict = "inconclusive"
    return Measurement(name, value, low, high, limit, at_least, verdict, n)


def required_images(measurement: Measurement) -> int | None:
    """Estimates how many images would settle an inconclusive metric if its value stayed.

    A share of images uses the score test that Wilson's interval inverts, which is exact:
    n = z^2 L (1 - L) / (p - L)^2. Other intervals are taken to narrow with the square root of n.

    Returns:
        A number of images; None when there is nothing to settle, or when no number would settle
        it: the value is undefined or equal to the limit.
    """
    value, limit = measurement.value, measurement.limit
    if measurement.verdict != "inconclusive" or limit is None or math.isnan(value):
        return None
    distance = abs(value - limit)
    if distance == 0:
        return None
    method = metric_named(measurement.name).method
    if method == "wilson":
        needed = limit * (1 - limit) * (z_score(0.95) / distance) ** 2
        return max(measurement.n + 1, math.ceil(needed))
    if method == "bootstrap" and measurement.n < MIN_IMAGES:
        return MIN_IMAGES
    towards_limit = measurement.low if value > limit else measurement.high
    needed = measurement.n * ((value - towards_limit) / distance) ** 2
    return max(measurement.n + 1, math.ceil(needed))


def _json_number(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _measurement(item: Mapping[str, Any]) -> Measurement:
    names = {field.name for field in fields(Measurement)}
    if set(item) != names:
        raise KeyError(f"found the fields {sorted(item)} of a metric, expected {sorted(names)}")
    value = math.nan if item["value"] is None else float(item["value"])
    return Measurement(**{**item, "value": value})
