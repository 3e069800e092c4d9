"""Average precision against hand-counted cases and a brute-force implementation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.drift.detection import average_precision, mean_overlap
from runtime.drift.matching import THRESHOLDS, match
from runtime.drift.overlap import iou


@dataclass
class Image:
    boxes: Any
    scores: Any
    indices: Any


def image(*rows: tuple[float, ...]) -> Image:
    """Rows of x0, y0, x1, y1, score, class."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    return Image(table[:, :4].astype(np.float32), table[:, 4], table[:, 5].astype(np.int64))


def ap(detections: list[Image], truths: list[Image]) -> np.ndarray[Any, Any]:
    once = np.ones((1, len(truths)))
    row: np.ndarray[Any, Any] = average_precision(match(detections, truths), once)[0]
    return row


A, B, C = (0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)
FAR = (80, 80, 90, 90)


def test_iou_of_known_boxes() -> None:
    left = np.array([A, (0, 0, 10, 5), (5, 5, 5, 9)])
    right = np.array([A, (5, 0, 15, 10), FAR])
    # 50 of 150 shared; half of one box; 25 of 125; a box without area overlaps nothing.
    expected = [[1, 1 / 3, 0], [0.5, 25 / 125, 0], [0, 0, 0]]
    assert iou(left, right) == pytest.approx(np.array(expected))


def test_perfect_detections_have_ap_one() -> None:
    truth = [image((*A, 1, 0), (*B, 1, 1)), image((*C, 1, 0))]
    assert ap(truth, truth).tolist() == [1.0] * 10


def test_one_of_two_found_before_a_false_alarm() -> None:
    truth = [image((*A, 1, 0), (*B, 1, 0))]
    found = [image((*A, 0.9, 0), (*FAR, 0.8, 0))]
    # Recall 0.5 is reached with precision 1: the recalls 0 ... 0.50 are 51 of 101 points.
    assert ap(found, truth)[0] == pytest.approx(51 / 101)


def test_a_false_alarm_of_higher_score_halves_precision() -> None:
    truth = [image((*A, 1, 0))]
    found = [image((*FAR, 0.9, 0), (*A, 0.8, 0))]
    assert ap(found, truth)[0] == pytest.approx(0.5)


def test_a_second_detection_of_a_box_is_a_false_alarm() -> None:
    truth = [image((*A, 1, 0), (*B, 1, 0))]
    found = [image((*A, 0.9, 0), (*A, 0.8, 0), (*B, 0.7, 0))]
    # Precision 1 up to recall 0.5, then 2/3 up to recall 1.
    assert ap(found, truth)[0] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_the_iou_threshold_is_inclusive_and_each_is_applied() -> None:
    truth = [image((*A, 1, 0))]
    found = [image((0, 0, 10, 7, 0.9, 0))]
    # IoU is 0.7 in real numbers but the boxes are whole: 70 / 100 in float64 is the threshold.
    assert ap(found, truth).tolist() == [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]


def test_classes_are_averaged_and_those_without_truth_are_not() -> None:
    truth = [image((*A, 1, 0), (*B, 1, 1))]
    found = [image((*A, 0.9, 0), (*C, 0.9, 2))]
    assert ap(found, truth)[0] == pytest.approx(0.5)


def test_the_wrong_class_does_not_match() -> None:
    assert ap([image((*A, 0.9, 1))], [image((*A, 1, 0))])[0] == 0


def test_no_ground_truth_is_undefined() -> None:
    assert np.isnan(ap([image((*A, 0.9, 0))], [image()])).all()
    assert np.isnan(ap([image()], [image()])).all()


def test_no_detections_have_ap_zero() -> None:
    assert (ap([image()], [image((*A, 1, 0))]) == 0).all()


@pytest.mark.parametrize("spoiled", ["boxes", "scores"])
def test_a_nan_is_the_worst_false_alarm(spoiled: str) -> None:
    found = image((*A, 0.9, 0), (*A, 0.1, 0))
    getattr(found, spoiled)[1] = np.nan
    assert ap([found], [image((*A, 1, 0))])[0] == pytest.approx(0.5)


def test_mean_overlap_counts_matched_boxes_only() -> None:
    truth = [image((*A, 1, 0)), image((*A, 1, 0), (*B, 1, 1))]
    found = [image((0, 0, 10, 8, 0.9, 0)), image((*A, 0.8, 0), (*FAR, 0.7, 1))]
    matches = match(found, truth)
    sets = np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 0.0]])
    assert mean_overlap(matches, sets) == pytest.approx([0.9, 0.8, np.nan], nan_ok=True)


def brute_force_ap(detections: list[Image], truths: list[Image], threshold: float) -> float:
    """AP by its definition, in loops: the mean over 101 recalls of the best precision beyond."""
    classes = sorted({int(k) for truth in truths for k in truth.indices})
    results = []
    for label in classes:
        ranked = []
        total = 0
        for found, truth in zip(detections, truths, strict=True):
            expected = [b for b, k in zip(truth.boxes, truth.indices, strict=True) if k == label]
            total += len(expected)
            mine = [
                (float(score), box)
                for score, box, k in zip(found.scores, found.boxes, found.indices, strict=True)
                if k == label
            ]
            used: set[int] = set()
            for score, box in sorted(mine, key=lambda row: -row[0]):
                best, where = 0.0, -1
                for index, target in enumerate(expected):
                    width = min(box[2], target[2]) - max(box[0], target[0])
                    height = min(box[3], target[3]) - max(box[1], target[1])
                    if width <= 0 or height <= 0 or index in used:
                        continue
                    shared = float(width * height)
                    areas = [float((b[2] - b[0]) * (b[3] - b[1])) for b in (box, target)]
                    overlap = shared / (sum(areas) - shared)
                    if overlap > best:
                        best, where = overlap, index
                if best >= threshold:
                    used.add(where)
                ranked.append((score, best >= threshold))
        ranked.sort(key=lambda row: -row[0])
        curve = []
        for length in range(1, len(ranked) + 1):
            right = sum(hit for _, hit in ranked[:length])
            curve.append((right, right / length))
        points = [
            max((p for right, p in curve if 100 * right >= step * total), default=0.0)
            for step in range(101)
        ]
        results.append(sum(points) / 101)
    return sum(results) / len(results) if results else float("nan")


_rows = st.tuples(
    st.integers(0, 6), st.integers(0, 6), st.integers(1, 6), st.integers(1, 6), st.integers(0, 2)
)
_images = st.lists(
    st.tuples(st.lists(_rows, max_size=6), st.lists(_rows, max_size=4)), min_size=1, max_size=4
)


def _image(rows: list[tuple[int, ...]], scores: list[float]) -> Image:
    return image(
        *((x, y, x + w, y + h, s, k) for (x, y, w, h, k), s in zip(rows, scores, strict=True))
    )


@settings(max_examples=120, deadline=None)
@given(content=_images, order=st.randoms(use_true_random=False), data=st.data())
def test_average_precision_is_the_brute_force_one(content: Any, order: Any, data: Any) -> None:
    # Scores are a permutation of distinct values: the order of equal ones is not defined.
    ranks = list(range(1, 1 + sum(len(found) for found, _ in content)))
    order.shuffle(ranks)
    scores = iter(rank / 64 for rank in ranks)
    detections = [_image(found, [next(scores) for _ in found]) for found, _ in content]
    truths = [_image(truth, [1.0] * len(truth)) for _, truth in content]
    counts = data.draw(st.lists(st.integers(0, 3), min_size=len(content), max_size=len(content)))
    matches = match(detections, truths)
    sets = np.array([[1] * len(content), counts], dtype=np.float64)
    found = average_precision(matches, sets)
    for column in (0, 3, 9):
        expected = brute_force_ap(detections, truths, THRESHOLDS[column])
        # The sums run in another order: float64 rounding only.
        assert found[0, column] == pytest.approx(expected, abs=1e-12, nan_ok=True)
    # A weight is the same as that many copies of the image.
    many = [
        [images[k] for k, count in enumerate(counts) for _ in range(count)]
        for images in (detections, truths)
    ]
    repeated = brute_force_ap(many[0], many[1], THRESHOLDS[0])
    assert found[1, 0] == pytest.approx(repeated, abs=1e-12, nan_ok=True)
