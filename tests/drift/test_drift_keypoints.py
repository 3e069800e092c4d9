"""Drift of keypoints, counted by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from runtime.drift.keypoints import Pose, correct
from runtime.drift.measure import measure

FRAME = (200, 100)  # 1 % of its longer side are 2 pixels


def pose(*rows: tuple[float, float, float], frame: tuple[int, int] = FRAME) -> Pose:
    """Rows of x, y and score."""
    table = np.array(rows, np.float32)
    return Pose(table[:, :2], table[:, 2], frame)


def value(name: str, reference: list[Pose], candidate: list[Pose], labels: Any = None) -> float:
    report = measure("keypoints", reference, candidate, labels=labels)
    return {m.name: m.value for m in report.measurements}[name]


def test_an_engine_equal_to_pytorch_has_no_drift() -> None:
    poses = [pose((10, 20, 0.9), (30, 40, 0.8)), pose((50, 60, 0.7), (1, 2, 0.1))]
    truths = [p.points for p in poses]
    assert value("pck_vs_reference", poses, poses) == 1
    assert value("oks_vs_reference", poses, poses) == 1
    assert value("pck_drop", poses, poses, truths) == 0


def test_points_within_one_percent_are_found() -> None:
    reference = [pose((10, 10, 0.9), (20, 20, 0.9), (30, 30, 0.9), (40, 40, 0.49))]
    # 1.9 pixels away; 2.1 pixels; none; and far off, but of a point that PyTorch is not sure of.
    candidate = [pose((11.9, 10, 0.9), (20, 22.1, 0.9), (30, 30, 0.1), (90, 90, 0.9))]
    assert value("pck_vs_reference", reference, candidate) == pytest.approx(2 / 3)


def test_every_point_counts_alike_and_every_image() -> None:
    reference = [pose((10, 10, 0.9), (20, 20, 0.9)), pose((10, 10, 0.9), (20, 20, 0.1))]
    candidate = [pose((10, 10, 0.9), (60, 60, 0.9)), pose((10, 10, 0.9), (20, 20, 0.1))]
    assert value("pck_vs_reference", reference, candidate) == pytest.approx(2 / 3)
    # OKS is an image's, as it is a figure's in COCO: (1 / 2 + 1) / 2, the far point next to none.
    far = math.exp(-(40**2 + 40**2) / (2 * 200 * 100 * 0.1**2))
    expected = ((1 + far) / 2 + 1) / 2
    assert value("oks_vs_reference", reference, candidate) == pytest.approx(expected)


def test_similarity_is_cocos() -> None:
    # At a distance of s κ it is exp(-1/2), s being the root of the frame's area.
    reference, candidate = [pose((10, 10, 0.9))], [pose((10 + 0.1 * math.sqrt(200 * 100), 10, 0.9))]
    assert value("oks_vs_reference", reference, candidate) == pytest.approx(math.exp(-0.5))


def test_pck_is_measured_by_the_figure() -> None:
    # The true points span 50 x 20 pixels: 5 are allowed, whatever the frame.
    truth = np.array([(10, 10), (60, 30), (20, 20), (np.nan, np.nan)], np.float32)
    found = pose((14.9, 10, 0.9), (60, 35.1, 0.9), (20, 20, 0.0), (1, 1, 0.9))
    right, seen = correct([found], [truth])
    assert (right.tolist(), seen.tolist()) == ([2], [3])


def test_an_image_without_true_points_counts_for_nothing() -> None:
    nothing = np.full((2, 2), np.nan, np.float32)
    right, seen = correct([pose((1, 1, 0.9), (2, 2, 0.9))], [nothing])
    assert (right.tolist(), seen.tolist()) == ([0], [0])


def test_a_drop_is_pytorchs_share_less_the_engines() -> None:
    truths = [np.array([(10, 10), (60, 10)], np.float32)] * 4
    good, half = pose((10, 10, 0.9), (60, 10, 0.9)), pose((10, 10, 0.9), (90, 90, 0.9))
    reference, candidate = [good, good, good, half], [good, half, half, good]
    assert value("pck_drop", reference, candidate, truths) == pytest.approx(7 / 8 - 6 / 8)


def test_what_is_not_finite_is_drift_and_no_error() -> None:
    reference = [pose((10, 10, 0.9), (20, 20, 0.9))]
    candidate = [pose((10, 10, math.nan), (math.nan, 20, 0.9))]
    truths = [reference[0].points]
    assert value("pck_vs_reference", reference, candidate) == 0
    assert value("oks_vs_reference", reference, candidate) == 0
    assert value("pck_drop", reference, candidate, truths) == 1


def test_a_broken_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="PyTorch model itself is broken"):
        measure("keypoints", [pose((math.nan, 1, 0.9))], [pose((1, 1, 0.9))])


def test_other_numbers_of_points_are_refused() -> None:
    with pytest.raises(ValueError, match="found keypoints of shape"):
        measure("keypoints", [pose((1, 1, 0.9))], [pose((1, 1, 0.9), (2, 2, 0.9))])


def test_without_a_sure_point_nothing_is_measured() -> None:
    unsure = [pose((1, 1, 0.2))]
    assert math.isnan(value("pck_vs_reference", unsure, unsure))


def test_the_interval_narrows_around_a_share() -> None:
    rng = np.random.default_rng(0)
    reference = [pose((50, 50, 0.9)) for _ in range(400)]
    moved = [50 if rng.random() < 0.9 else 90 for _ in reference]
    candidate = [pose((x, 50, 0.9)) for x in moved]
    report = measure("keypoints", reference, candidate, limits={"pck_vs_reference": 0.8})
    found = next(m for m in report.measurements if m.name == "pck_vs_reference")
    share = moved.count(50) / 400
    # A binomial share of 400: 1.96 standard errors to each side; the bootstrap has 1000 draws, and
    # so its quantiles a deviation of a few per cent of that.
    error = 1.96 * math.sqrt(share * (1 - share) / 400)
    assert found.value == pytest.approx(share)
    assert (found.low, found.high) == pytest.approx(
        (share - error, share + error), abs=0.25 * error
    )
    assert found.verdict == "pass"
