"""AP of masks against that of boxes where both are the same, and what counts as drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from runtime.drift.average_precision import average_precision
from runtime.drift.instances import mask_overlap
from runtime.drift.matching import match
from runtime.drift.measure import measure
from runtime.drift.verdict import DriftReport, Measurement
from runtime.tasks.cutouts import Cutout


@dataclass
class Found:
    boxes: Any
    scores: Any
    indices: Any
    masks: Any


def of_boxes(boxes: Any, scores: Any, indices: Any) -> Found:
    """Instances that fill their boxes, which have whole corners."""
    boxes = np.array(boxes, np.int64).reshape(-1, 4)
    masks = [Cutout(np.ones((y1 - y0, x1 - x0), bool), x0, y0) for x0, y0, x1, y1 in boxes.tolist()]
    return Found(boxes.astype(np.float32), np.array(scores), np.array(indices), masks)


def scene(rng: np.random.Generator, scores: bool = True) -> Found:
    count = int(rng.integers(1, 6))
    low = rng.integers(0, 12, (count, 2))
    boxes = np.concatenate([low, low + rng.integers(1, 9, (count, 2))], 1)
    return of_boxes(
        boxes, rng.random(count) if scores else np.ones(count), rng.integers(0, 3, count)
    )


def scenes(seed: int, count: int, **changes: Any) -> list[Found]:
    rng = np.random.default_rng(seed)
    return [scene(rng, **changes) for _ in range(count)]


def by_name(report: DriftReport) -> dict[str, Measurement]:
    return {item.name: item for item in report.measurements}


def nudged(truths: list[Found], seed: int) -> list[Found]:
    """What a poor model finds: edges a pixel off, some classes wrong, some instances left out."""
    rng = np.random.default_rng(seed)
    found = []
    for truth in truths:
        kept = rng.random(len(truth.boxes)) < 0.9
        boxes = truth.boxes[kept].astype(np.int64)
        boxes[:, 2:] += rng.integers(0, 2, (len(boxes), 2))
        indices = np.where(rng.random(len(boxes)) < 0.2, 0, truth.indices[kept])
        found.append(of_boxes(boxes, rng.random(len(boxes)), indices))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_masks_that_fill_their_boxes_have_the_boxes_ap(seed: int) -> None:
    truths = scenes(seed, 30, scores=False)
    found = nudged(truths, seed)
    counts = np.ones((1, 30))
    by_mask = average_precision(match(found, truths, mask_overlap), counts)
    by_box = average_precision(match(found, truths), counts)
    assert 0 < by_box[0, 9] < by_box[0, 0] < 1
    np.testing.assert_array_equal(by_mask, by_box)


def test_half_a_mask_in_the_right_box_is_a_miss_of_the_mask_alone() -> None:
    truth = [of_boxes([[0, 0, 10, 10]], [1.0], [0])]
    other = of_boxes([[0, 0, 10, 10]], [1.0], [0])
    other.masks[0].pixels[:, 4:] = False
    values = {
        name: item.value for name, item in by_name(measure("instances", truth, [other])).items()
    }
    assert values["box_ap50_vs_reference"] == values["box_ap_vs_reference"] == 1
    assert values["mask_ap50_vs_reference"] == values["mask_ap_vs_reference"] == 0
    other.masks[0].pixels[:, 4:8] = True  # IoU 0.8, which seven of ten thresholds admit
    values = {
        name: item.value for name, item in by_name(measure("instances", truth, [other])).items()
    }
    assert values["mask_ap50_vs_reference"] == 1
    assert values["mask_ap_vs_reference"] == pytest.approx(0.7)
    assert values["mask_iou"] == pytest.approx(0.8)


def test_an_engine_equal_to_the_reference_has_not_drifted() -> None:
    reference = scenes(0, 25)
    limits = {"mask_ap50_vs_reference": 1.0, "box_ap50_vs_reference": 1.0, "mask_ap50_drop": 0.0}
    truths = scenes(9, 25, scores=False)
    report = measure("instances", reference, reference, labels=truths, limits=limits)
    assert report.verdict == "pass"
    found = by_name(report)
    assert found["mask_ap_drop"].value == found["box_ap50_drop"].value == 0
    assert found["mask_iou"].value == 1


def test_only_confident_instances_of_the_reference_are_the_truth() -> None:
    reference = [of_boxes([[0, 0, 4, 4], [8, 8, 12, 12]], [0.9, 0.3], [0, 1])]
    candidate = [of_boxes([[0, 0, 4, 4]], [0.6], [0])]
    assert by_name(measure("instances", reference, candidate))["mask_ap_vs_reference"].value == 1


def test_a_reference_against_truths_loses_what_the_engine_does_not_find() -> None:
    truths = scenes(1, 25, scores=False)
    nothing = [of_boxes([], [], np.zeros(0, np.int64)) for _ in truths]
    found = by_name(measure("instances", truths, nothing, labels=truths))
    assert found["mask_ap50_drop"].value == found["box_ap50_drop"].value == 1
    assert found["mask_ap50_vs_reference"].value == 0


def test_fewer_than_twenty_images_prove_nothing() -> None:
    reference = scenes(2, 5)
    report = measure("instances", reference, reference, limits={"mask_ap50_vs_reference": 0.9})
    assert report.verdict == "inconclusive"


def test_a_reference_that_is_not_finite_is_refused() -> None:
    reference = scenes(3, 3)
    reference[1].scores[0] = np.nan
    with pytest.raises(ValueError, match=r"in the reference scores of 1 images \(first: 1\)"):
        measure("instances", reference, reference)
