"""From outputs to a verdict."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from runtime.drift.limits import check_limits
from runtime.drift.measure import measure
from runtime.drift.verdict import DriftReport, Measurement


@dataclasses.dataclass
class Image:
    boxes: Any
    scores: Any
    indices: Any


def logits(n: int, classes: int = 10, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(n, classes)).astype(np.float32)


def scene(seed: int, objects: int = 4) -> Image:
    generator = np.random.default_rng(seed)
    corner = generator.uniform(0, 90, (objects, 2))
    boxes = np.hstack([corner, corner + generator.uniform(5, 10, (objects, 2))])
    return Image(boxes, np.linspace(0.95, 0.55, objects), generator.integers(0, 3, objects))


def by_name(report: DriftReport) -> dict[str, Measurement]:
    return {item.name: item for item in report.measurements}


def test_equal_logits_pass() -> None:
    reference = logits(400)
    limits = {"top1_agreement": 0.99, "logit_cosine": 0.9999, "top1_accuracy_drop": 0.01}
    report = measure(
        "classification", reference, reference, labels=np.zeros(400, int), limits=limits
    )
    found = by_name(report)
    assert report.verdict == "pass"
    assert found["top1_agreement"].value == found["top1_agreement"].high == 1.0
    # Float64 dot products of float32 values: a few units in the last place.
    assert found["logit_cosine"].low == pytest.approx(1.0, abs=1e-12)
    assert found["top1_accuracy_drop"].value == 0.0


@pytest.mark.parametrize("n", [1, 5, 30])
def test_a_small_set_cannot_pass_by_luck(n: int) -> None:
    report = measure("classification", logits(n), logits(n), limits={"top1_agreement": 0.99})
    assert report.verdict == "inconclusive"


@pytest.mark.parametrize(("n", "verdict"), [(19, "inconclusive"), (20, "pass")])
def test_a_bootstrap_needs_twenty_images(n: int, verdict: str) -> None:
    report = measure("classification", logits(n), logits(n), limits={"logit_cosine": 0.99})
    assert report.verdict == verdict


def test_known_agreement_cosine_and_drop() -> None:
    reference = np.tile(np.array([[3.0, 4.0]], np.float32), (50, 1))
    candidate = reference.copy()
    candidate[:10] = [4.0, 3.0]
    found = by_name(
        measure("classification", reference, candidate, labels=np.ones(50, int), limits={})
    )
    assert found["top1_agreement"].value == pytest.approx(0.8)
    # (3, 4) . (4, 3) / 25 = 0.96 for ten of fifty.
    assert found["logit_cosine"].value == pytest.approx(0.992)
    assert found["top1_accuracy_drop"].value == pytest.approx(0.2)
    assert {item.verdict for item in found.values()} == {"info"}


def test_a_better_engine_has_a_negative_drop() -> None:
    reference = logits(200)
    labels = np.roll(reference, 1, axis=0).argmax(1)
    found = by_name(
        measure("classification", reference, np.roll(reference, 1, axis=0), labels=labels)
    )
    assert found["top1_accuracy_drop"].high < 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_disagree(value: float) -> None:
    reference = logits(40)
    candidate = reference.copy()
    candidate[:4, 3] = value
    found = by_name(
        measure("classification", reference, candidate, labels=reference.argmax(1), limits={})
    )
    assert found["top1_agreement"].value == pytest.approx(0.9)
    assert found["logit_cosine"].value == pytest.approx(0.9)
    assert found["top1_accuracy_drop"].value == pytest.approx(0.1)


def test_zero_logits_are_alike_only_to_zero_logits() -> None:
    reference = np.zeros((20, 3), np.float32)
    candidate = reference.copy()
    candidate[:5, 1] = 1.0
    found = by_name(measure("classification", reference, candidate))
    assert found["logit_cosine"].value == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("reference", "candidate", "labels", "message"),
    [
        ([], [], None, "0 images"),
        (logits(3), logits(2), None, "2 images in candidate"),
        (logits(3), logits(3), [1], "1 images in labels"),
        (logits(3), logits(3, 5), None, r"shape \(3, 5\)"),
        (logits(3)[0], logits(3)[0], None, r"logits of shape \(10,\)"),
        (logits(3) * np.nan, logits(3), None, "reference logits of 3 images"),
    ],
)
def test_unusable_outputs_are_refused(
    reference: Any, candidate: Any, labels: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        measure("classification", reference, candidate, labels=labels)


@pytest.mark.parametrize(
    ("task", "limits", "message"),
    [
        ("classification", {"top1_agrement": 0.9}, "did you mean top1_agreement"),
        ("classification", {"ap50_drop": 0.1}, "unknown classification drift metric"),
        ("detection", {"ap50_vs_refrence": 0.9}, "ap50_vs_reference"),
        ("detections", {}, "did you mean detection"),
        ("classification", {"top1_agreement": 99}, "expected a number from 0 to 1"),
        ("classification", {"top1_agreement": math.nan}, "expected a number"),
        ("classification", {"top1_agreement": "0.9"}, "expected a number"),
        ("classification", {"top1_agreement": True}, "expected a number"),
    ],
)
def test_limits_are_checked(task: str, limits: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_limits(task, limits)


def test_a_limit_that_needs_labels_is_named_when_there_are_none() -> None:
    report = measure("classification", logits(30), logits(30), limits={"top1_accuracy_drop": 0.01})
    assert report.unmeasured == ("top1_accuracy_drop",)
    assert "top1_accuracy_drop" not in by_name(report)


def test_equal_detections_pass() -> None:
    scenes = [scene(seed) for seed in range(25)]
    limits = {"ap50_vs_reference": 0.99, "ap_vs_reference": 0.99, "ap50_drop": 0.0}
    report = measure("detection", scenes, scenes, labels=scenes, limits=limits)
    assert report.verdict == "pass"
    assert by_name(report)["box_iou"].value == pytest.approx(1.0)


def test_shifted_boxes_fail() -> None:
    scenes = [scene(seed) for seed in range(25)]
    moved = [dataclasses.replace(image, boxes=image.boxes + 4.0) for image in scenes]
    report = measure("detection", scenes, moved, limits={"ap50_vs_reference": 0.9})
    assert report.verdict == "fail"


def test_only_confident_reference_boxes_are_truth_but_weak_candidates_are_ranked() -> None:
    reference = [scene(seed) for seed in range(25)]
    for image in reference:
        image.scores = np.array([0.9, 0.5, 0.49, 0.1])
        image.indices = np.zeros(4, int)
    candidate = [dataclasses.replace(image) for image in reference]
    assert by_name(measure("detection", reference, candidate))["ap50_vs_reference"].value == 1.0
    # Raised above all others, what the reference doubted becomes a false alarm.
    for image in candidate:
        image.scores = np.array([0.9, 0.5, 0.49, 0.95])
    assert by_name(measure("detection", reference, candidate))["ap50_vs_reference"].value < 1.0


def test_a_reference_that_sees_nothing_is_inconclusive() -> None:
    blank = [scene(seed, objects=0) for seed in range(25)]
    report = measure("detection", blank, blank, limits={"ap50_vs_reference": 0.9})
    found = by_name(report)["ap50_vs_reference"]
    assert math.isnan(found.value)
    assert (found.low, found.high, found.verdict) == (0.0, 1.0, "inconclusive")


def test_detections_that_are_not_finite_are_drift_but_a_reference_is_refused() -> None:
    scenes = [scene(seed) for seed in range(25)]
    spoiled = [dataclasses.replace(image, boxes=image.boxes * np.nan) for image in scenes]
    report = measure("detection", scenes, spoiled, limits={"ap50_vs_reference": 0.9})
    assert report.verdict == "fail"
    with pytest.raises(ValueError, match="reference boxes of 25 images"):
        measure("detection", spoiled, scenes)


def test_the_same_seed_gives_the_same_report() -> None:
    scenes = [scene(seed) for seed in range(25)]
    moved = [dataclasses.replace(image, boxes=image.boxes + 1.5) for image in scenes]
    first, second = (measure("detection", scenes, moved, seed=3).measurements for _ in range(2))
    assert first == second
