"""Optimisation profiles: every input that preprocessing can make lies in one of them."""

from __future__ import annotations

import numpy as np
import pytest

from engines.tensorrt import Profile
from export.profiles import profiles
from runtime import Preprocess
from runtime.manifest import TensorInfo

FIXED = (TensorInfo("pixel_values", "float32", ("batch", 3, 224, 224)),)
RAGGED = (
    TensorInfo("pixel_values", "float32", ("batch", 3, "height", "width")),
    TensorInfo("pixel_mask", "int64", ("batch", "height", "width")),
)
DETR = Preprocess(resize="shortest_edge", size=800, max_size=1333, pad=True)
TINY_DETR = Preprocess(resize="shortest_edge", size=96, max_size=128, pad=True)


def admits(profile: Profile, shapes: dict[str, tuple[int, ...]]) -> bool:
    return all(
        all(a <= n <= b for a, n, b in zip(least, shapes[name], most, strict=True))
        for name, (least, _, most) in profile.shapes.items()
    )


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_a_fixed_size_has_a_profile_for_one_image_and_one_for_batches(batch: int) -> None:
    single, many = profiles(FIXED, Preprocess(), 8)
    assert single.shapes == {"pixel_values": ((1, 3, 224, 224),) * 3}
    assert many.shapes["pixel_values"][1] == (8, 3, 224, 224)
    shapes = {"pixel_values": (batch, 3, 224, 224)}
    assert admits(many, shapes)
    assert admits(single, shapes) == (batch == 1)


def test_batches_of_one_need_no_second_profile() -> None:
    assert len(profiles(FIXED, Preprocess(), 1)) == 1


@pytest.mark.parametrize("preprocess", [DETR, TINY_DETR], ids=["detr", "tiny"])
@pytest.mark.parametrize(
    ("height", "width"),
    [
        pytest.param(1080, 1920, id="full-hd"),
        pytest.param(1920, 1080, id="standing"),
        pytest.param(480, 640, id="vga"),
        pytest.param(500, 500, id="square"),
        pytest.param(400, 1000, id="panorama"),
    ],
)
def test_what_preprocessing_makes_is_inside(
    preprocess: Preprocess, height: int, width: int
) -> None:
    frame = np.zeros((height, width, 3), np.uint8)
    inputs = preprocess([frame, frame]).inputs
    found = profiles(RAGGED, preprocess, 4)
    shapes = {name: array.shape for name, array in inputs.items()}
    assert all(admits(profile, shapes) for profile in found)


def test_one_is_tuned_for_lying_and_one_for_standing_images() -> None:
    lying, standing = profiles(RAGGED, DETR, 4)
    assert lying.shapes["pixel_values"][1] == (1, 3, 800, 1066)
    assert standing.shapes["pixel_values"][1] == (1, 3, 1066, 800)
    assert lying.shapes["pixel_mask"] == ((1, 400, 400), (1, 800, 1066), (4, 1333, 1333))
