"""Judging intervals, and the forms in which a report leaves."""

from __future__ import annotations

import dataclasses
import json
import math
from xml.etree import ElementTree

import pytest

from runtime.drift.formats import to_json, to_junit, to_markdown
from runtime.drift.intervals import Interval, wilson
from runtime.drift.verdict import DriftReport, Measurement, judge, required_images


@pytest.mark.parametrize(
    ("name", "interval", "limit", "verdict"),
    [
        ("top1_agreement", (0.95, 0.99), 0.95, "pass"),
        ("top1_agreement", (0.94, 0.99), 0.95, "inconclusive"),
        ("top1_agreement", (0.90, 0.95), 0.95, "inconclusive"),
        ("top1_agreement", (0.90, 0.94), 0.95, "fail"),
        ("top1_agreement", (0.90, 0.94), None, "info"),
        ("ap50_drop", (-0.01, 0.02), 0.02, "pass"),
        ("ap50_drop", (-0.01, 0.02), 0.01, "inconclusive"),
        ("ap50_drop", (0.02, 0.03), 0.01, "fail"),
    ],
)
def test_the_interval_decides(
    name: str, interval: tuple[float, float], limit: float | None, verdict: str
) -> None:
    middle = sum(interval) / 2
    assert judge(name, middle, Interval(*interval), limit, 100).verdict == verdict


def report(*measurements: Measurement, unmeasured: tuple[str, ...] = ()) -> DriftReport:
    return DriftReport("classification", measurements, 100, 1.25, unmeasured)


PASSED = judge("logit_cosine", 0.999, Interval(0.998, 0.9995), 0.99, 100)
FAILED = judge("top1_accuracy_drop", 0.1, Interval(0.05, 0.15), 0.01, 100)
OPEN = judge("top1_agreement", 0.97, wilson(97, 100), 0.95, 100)
INFO = judge("top1_agreement", 0.97, wilson(97, 100), None, 100)
UNDEFINED = judge("ap50_vs_reference", math.nan, Interval(0.0, 1.0), 0.9, 100)


@pytest.mark.parametrize(
    ("measurements", "verdict"),
    [
        ((PASSED, OPEN, FAILED), "fail"),
        ((PASSED, OPEN), "inconclusive"),
        ((PASSED, INFO), "pass"),
        ((UNDEFINED,), "inconclusive"),
    ],
)
def test_the_worst_metric_decides(measurements: tuple[Measurement, ...], verdict: str) -> None:
    assert report(*measurements).verdict == verdict


def test_required_images_of_a_share_are_the_fewest_that_settle_it() -> None:
    needed = required_images(OPEN)
    assert needed is not None
    # The same share of one image fewer leaves Wilson's interval across the limit.
    assert wilson(0.97 * needed, needed).low >= 0.95
    assert wilson(0.97 * (needed - 1), needed - 1).low < 0.95


def test_required_images_of_a_share_where_all_agree() -> None:
    few = judge("top1_agreement", 1.0, wilson(10, 10), 0.98, 10)
    # n / (n + z^2) >= 0.98, so n >= 49 z^2 = 188.2.
    assert required_images(few) == 189


def test_required_images_of_a_mean_follow_the_square_root() -> None:
    wide = judge("logit_cosine", 0.995, Interval(0.985, 0.999), 0.99, 100)
    # The lower side is twice the distance to the limit: four times the images.
    assert required_images(wide) == 400


@pytest.mark.parametrize("settled", [PASSED, FAILED, INFO, UNDEFINED])
def test_required_images_only_of_what_images_can_settle(settled: Measurement) -> None:
    assert required_images(settled) is None


def test_a_value_at_its_limit_needs_no_number_of_images() -> None:
    assert required_images(judge("top1_agreement", 0.97, wilson(97, 100), 0.97, 100)) is None


def test_a_small_bootstrap_asks_for_the_fewest_images() -> None:
    few = judge("logit_cosine", 0.999, Interval(-1.0, 1.0), 0.99, 5)
    assert required_images(few) == 20


@pytest.mark.parametrize("measurement", [PASSED, FAILED, OPEN, INFO])
def test_json_round_trip(measurement: Measurement) -> None:
    written = report(measurement, unmeasured=("top1_accuracy_drop",))
    assert DriftReport.from_dict(json.loads(to_json(written))) == written


def test_json_writes_an_undefined_value_as_null() -> None:
    record = json.loads(to_json(report(UNDEFINED)))
    assert record["verdict"] == "inconclusive"
    assert record["measurements"][0]["value"] is None
    assert math.isnan(DriftReport.from_dict(record).measurements[0].value)


def test_a_damaged_record_is_refused_in_one_line() -> None:
    record = report(PASSED).to_dict()
    del record["images"]
    with pytest.raises(ValueError, match=r"'images'.*rebuild"):
        DriftReport.from_dict(record)
    record = report(PASSED).to_dict()
    record["measurements"][0]["surprise"] = 1
    with pytest.raises(ValueError, match=r"surprise.*expected"):
        DriftReport.from_dict(record)


def test_junit_reads_back() -> None:
    hostile = 'vit<"&\x00tiny'
    text = to_junit(
        report(PASSED, FAILED, OPEN, unmeasured=("top1_accuracy_drop",)),
        name="vit_b16-int8-cpu",
        properties={"model": hostile, "precision": "int8"},
    )
    suite = ElementTree.fromstring(text)[0]
    counts = {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped", "time")}
    assert counts == {"tests": "4", "failures": "2", "errors": "0", "skipped": "1", "time": "1.250"}
    properties = {item.get("name"): item.get("value") for item in suite.iter("property")}
    assert properties["model"] == 'vit<"&\ufffdtiny'
    assert properties["verdict"] == "fail"
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert cases["logit_cosine"].find("failure") is None
    failure = cases["top1_agreement"].find("failure")
    assert failure is not None
    assert failure.get("type") == "inconclusive"
    message = failure.get("message") or ""
    assert f"{OPEN.low:.4f} to {OPEN.high:.4f}" in message
    assert "found 0.9700" in message and "at least 0.95" in message
    assert f"about {required_images(OPEN)} images" in message


def test_junit_and_markdown_explain_an_undefined_value() -> None:
    for text in (to_junit(report(UNDEFINED)), to_markdown(report(UNDEFINED))):
        assert "found undefined" in text and "no image shows an object" in text


def test_markdown_is_a_table_with_the_verdict() -> None:
    written = report(PASSED, OPEN, INFO, unmeasured=("top1_accuracy_drop",))
    text = to_markdown(written, title="a|b\n# c")
    lines = text.splitlines()
    assert lines[0] == "### a\\|b # c: ⚠️ inconclusive"
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 5
    assert {row.count("|") for row in rows} == {6}
    assert "≥ 0.99" in rows[2] and "✅ pass" in rows[2]
    assert "about" in text and "top1_accuracy_drop: not measured" in text


def test_a_report_is_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        report(PASSED).images = 3  # type: ignore[misc]
