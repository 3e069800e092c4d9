"""Mean IoU against counting by hand and pixel by pixel, and what counts as drift."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runtime.drift.measure import measure
from runtime.drift.segmentation import mean_iou, overlaps
from runtime.drift.verdict import DriftReport, Measurement

Maps = list[np.ndarray[Any, Any]]


def maps(*rows: list[int]) -> Maps:
    """Images of one row of pixels."""
    return [np.array([row], np.uint8) for row in rows]


def random_maps(n: int, seed: int, classes: int = 4) -> Maps:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(5, 12, (n, 2))
    return [rng.integers(0, classes, tuple(size), dtype=np.uint8) for size in sizes]


def by_name(report: DriftReport) -> dict[str, Measurement]:
    return {item.name: item for item in report.measurements}


def iou_of_sets(truths: Maps, found: Maps) -> float:
    """Mean IoU with Python's own sets of pixels."""
    pixels: list[dict[int, set[tuple[int, int, int]]]] = [{}, {}]
    for image, pair in enumerate(zip(truths, found, strict=True)):
        for (row, column), truth in np.ndenumerate(pair[0]):
            if truth == 255:
                continue
            for side in (0, 1):
                index = int(pair[side][row, column])
                pixels[side].setdefault(index, set()).add((image, row, column))
    wanted, given = pixels
    shares = [
        len(p & given.get(i, set())) / len(p | given.get(i, set())) for i, p in wanted.items()
    ]
    return sum(shares) / len(shares)


def iou(truths: Maps, found: Maps, classes: int = 6) -> float:
    return float(mean_iou(overlaps(truths, found, classes), np.ones((1, len(truths))))[0])


def test_mean_iou_by_hand() -> None:
    # Class 0: 2 of 3 pixels; class 1: 2 of 4; class 2 is nowhere in the truth and does not count.
    assert iou(maps([0, 0, 1, 1, 1]), maps([0, 0, 0, 1, 1])) == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert iou(maps([0, 0, 1, 1]), maps([0, 0, 2, 2])) == pytest.approx((1 + 0) / 2)


def test_pixels_are_counted_over_all_images_together() -> None:
    # 1 of 1 and 1 of 3 pixels are 2 of 4, not the mean of 1 and 1/3.
    assert iou(maps([0], [0, 0, 0]), maps([0], [0, 1, 1])) == pytest.approx(2 / 4)


@pytest.mark.parametrize("seed", range(8))
def test_mean_iou_of_sets_of_pixels(seed: int) -> None:
    truths, found = random_maps(5, seed), random_maps(5, seed)
    rng = np.random.default_rng(seed)
    for truth, other in zip(truths, found, strict=True):
        other[rng.random(other.shape) < 0.3] = 5
        truth[rng.random(truth.shape) < 0.2] = 255
    assert iou(truths, found) == pytest.approx(iou_of_sets(truths, found))


def test_an_image_drawn_twice_counts_twice() -> None:
    truths, found = random_maps(3, 0), [1 - image % 2 for image in random_maps(3, 0)]
    counts = np.array([[2.0, 0.0, 1.0]])
    drawn = float(mean_iou(overlaps(truths, found, 4), counts)[0])
    assert drawn == pytest.approx(
        iou([truths[i] for i in (0, 0, 2)], [found[i] for i in (0, 0, 2)])
    )


def test_equal_maps_pass() -> None:
    reference = random_maps(30, 1)
    limits = {"miou_vs_reference": 0.999, "pixel_agreement": 0.999, "miou_drop": 0.001}
    report = measure("segmentation", reference, reference, labels=reference, limits=limits)
    assert report.verdict == "pass"
    assert [item.value for item in report.measurements] == [1.0, 1.0, 0.0]


def test_known_agreement_and_drop() -> None:
    """Thirty images in which one of four pixels of class 1 became 0."""
    reference = maps(*[[0, 0, 1, 1]] * 30)
    candidate = maps(*[[0, 0, 0, 1]] * 30)
    found = by_name(measure("segmentation", reference, candidate, labels=reference))
    assert found["pixel_agreement"].value == pytest.approx(3 / 4)
    assert found["miou_vs_reference"].value == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["miou_drop"].value == pytest.approx(1 - (2 / 3 + 1 / 2) / 2)
    # Every resample of equal images is the same.
    assert found["miou_drop"].low == found["miou_drop"].high


def test_without_labels_the_drop_is_unmeasured() -> None:
    reference = random_maps(25, 0)
    report = measure("segmentation", reference, reference, limits={"miou_drop": 0.01})
    assert report.unmeasured == ("miou_drop",)


def test_few_images_settle_nothing() -> None:
    report = measure(
        "segmentation", random_maps(19, 0), random_maps(19, 0), limits={"pixel_agreement": 0.5}
    )
    assert report.verdict == "inconclusive"


def test_the_interval_holds_the_value_and_narrows_with_images() -> None:
    def width(n: int) -> float:
        reference = random_maps(n, 0)
        candidate = [image.copy() for image in reference]
        for image in candidate[::3]:
            image[:2] = 0
        found = by_name(measure("segmentation", reference, candidate))["miou_vs_reference"]
        assert found.low < found.value < found.high
        return found.high - found.low

    assert width(200) < 0.7 * width(50)  # half, but for luck


def test_a_candidate_that_is_not_finite_is_wrong_in_every_pixel() -> None:
    reference = random_maps(40, 0)
    candidate = [image.copy() for image in reference]
    for image in candidate[:10]:
        image[...] = 255
    found = by_name(measure("segmentation", reference, candidate, labels=reference))
    assert found["pixel_agreement"].value == pytest.approx(0.75)
    assert found["miou_vs_reference"].value == pytest.approx(iou_of_sets(reference, candidate))


def test_a_reference_that_is_not_finite_is_refused() -> None:
    reference = random_maps(3, 0)
    reference[1][...] = 255
    with pytest.raises(ValueError, match=r"reference logits of 1 images \(first: 1\)"):
        measure("segmentation", reference, random_maps(3, 0))


def test_masks_of_another_size_are_refused() -> None:
    reference = [np.zeros((4, 6), np.uint8)] * 2
    with pytest.raises(
        ValueError, match=r"found a class map of 4 x 6 pixels, expected 6 x 4: give"
    ):
        measure("segmentation", reference, reference, labels=[np.zeros((6, 4), np.uint8)] * 2)


def test_masks_of_16_bits_and_maps_of_8_are_compared() -> None:
    reference = maps(*[[0, 1, 2, 3]] * 20)
    labels = [image.astype(np.uint16) for image in reference]
    labels[0][0, 0] = 65535
    found = by_name(measure("segmentation", reference, reference, labels=labels))
    assert found["miou_drop"].value == 0
