"""A part of a resized frame against the same part of the whole, which Pillow resizes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from runtime.resampling import resized

SIDES = (1, 2, 7, 31, 64, 100, 257)


def whole(frame: np.ndarray, target: tuple[int, int], interpolation: str) -> np.ndarray:
    filters = Image.Resampling[interpolation.upper()]
    return np.asarray(Image.fromarray(frame).resize(target[::-1], filters))


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_a_part_is_that_of_the_whole(interpolation: str, planes: int) -> None:
    random = np.random.default_rng(planes)
    for _ in range(300):
        height, width, high, wide = random.choice(SIDES, 4).tolist()
        frame = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        frame = frame if planes == 3 else frame[..., 0]
        top, bottom = sorted(random.choice(high + 1, 2, replace=False).tolist())
        left, right = sorted(random.choice(wide + 1, 2, replace=False).tolist())
        found = resized(frame, (high, wide), (top, left, bottom, right), interpolation)
        expected = whole(frame, (high, wide), interpolation)[top:bottom, left:right]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_black_and_white_overshoot_as_in_the_whole(interpolation: str) -> None:
    # What is cut off after the first direction makes the order matter, and Pillow 13 chooses it.
    random = np.random.default_rng(0)
    for height, width, high, wide in ((100, 31, 30, 24), (31, 100, 24, 30), (90, 40, 24, 60)):
        frame = random.integers(0, 2, (height, width, 3), dtype=np.uint8) * np.uint8(255)
        found = resized(frame, (high, wide), (3, 3, high - 4, wide - 5), interpolation)
        expected = whole(frame, (high, wide), interpolation)[3:-4, 3:-5]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_a_full_hd_frame(interpolation: str) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
    found = resized(frame, (248, 440), (12, 108, 236, 332), interpolation)
    expected = whole(frame, (248, 440), interpolation)[12:236, 108:332]
    np.testing.assert_array_equal(found, expected)


def test_a_flat_frame_stays_flat() -> None:
    frame = np.full((1080, 1920, 3), (7, 130, 255), np.uint8)
    found = resized(frame, (248, 440), (12, 108, 236, 332), "bicubic")
    np.testing.assert_array_equal(found, np.broadcast_to(frame[0, 0], (224, 224, 3)))
