"""PSNR in closed form, and drift of restored images."""

from __future__ import annotations

import math

import numpy as np
import pytest

from runtime.drift.limits import check_limits
from runtime.drift.measure import measure
from runtime.drift.restoration import estimate, psnr

IMAGES = 25


def images(value: float = 100.0, count: int = IMAGES) -> list[np.ndarray]:
    return [np.full((6, 8, 3), value + n, np.float32) for n in range(count)]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (1.0, 20 * math.log10(255)),
        (-16.0, 20 * math.log10(255 / 16)),
        (0.0, 100.0),
        (1e-6, 100.0),
        (-1000.0, 20 * math.log10(255 / 100)),  # black at most
        (math.nan, 0.0),
        (math.inf, 0.0),
    ],
    ids=["one_level", "sixteen", "equal", "nearly", "beyond_black", "nan", "infinity"],
)
def test_psnr_of_a_constant_error(error: float, expected: float) -> None:
    truth = np.full((4, 5, 3), 100, np.uint8)
    found = truth.astype(np.float32)
    found += np.float32(error)
    assert psnr(truth, found) == pytest.approx(expected, abs=1e-6)  # float32 holds 101 exactly


def test_the_worst_that_there_is_has_no_decibel() -> None:
    assert psnr(np.zeros((2, 2, 3)), np.full((2, 2, 3), 255.0)) == 0


def test_sizes_must_be_equal() -> None:
    with pytest.raises(ValueError, match=r"shape \(4, 4, 3\), expected \(8, 8, 3\)"):
        psnr(np.zeros((8, 8, 3)), np.zeros((4, 4, 3)))


def test_metrics_are_means_over_images_and_the_drop_is_the_references_minus_the_candidates() -> (
    None
):
    clean = images()
    reference = [image + 2 for image in clean]
    candidate = [image + 4 for image in clean]
    candidate[0] = clean[0] + 2  # as good as the reference
    found = estimate(reference, candidate, clean, 0)
    apart, lost = 20 * math.log10(255 / 2), 20 * math.log10(2)
    value, interval = found["psnr_vs_reference"]
    assert value == pytest.approx((100 + (IMAGES - 1) * apart) / IMAGES, abs=1e-5)
    assert interval.low < value < interval.high
    value, interval = found["psnr_drop"]
    assert value == pytest.approx(lost * (IMAGES - 1) / IMAGES, abs=1e-5)
    assert 0 < interval.low < value < interval.high < lost + 1e-5


def test_few_images_leave_everything_possible_and_no_truths_leave_the_drop_out() -> None:
    found = estimate(images(count=3), images(count=3), None, 0)
    assert found == {"psnr_vs_reference": (100.0, (0.0, 100.0))}


def test_a_candidate_that_is_not_finite_is_drift_and_a_reference_is_an_error() -> None:
    broken = images()
    for index in range(3, 15):  # enough that no resample could be without
        broken[index] = broken[index] * np.nan
    report = measure("restoration", images(), broken, labels=images(), limits={"psnr_drop": 0.1})
    assert report.verdict == "fail"
    with pytest.raises(ValueError, match=r"restored image of 12 images \(first: 3\)"):
        estimate(broken, images(), None, 0)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"psnr_vs_reference": 101}, "expected a number from 0 to 100"),
        ({"psnr_drop": -101}, "expected a number from -100 to 100"),
        ({"psnr": 30}, "did you mean psnr_drop"),
    ],
    ids=["reference", "drop", "name"],
)
def test_limits_are_decibels(limits: dict[str, float], message: str) -> None:
    check_limits("restoration", {"psnr_vs_reference": 40, "psnr_drop": 0.1})
    with pytest.raises(ValueError, match=message):
        check_limits("restoration", limits)
