"""Images that are not square: stretched or letterboxed to a height and a width."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from runtime import Preprocess
from runtime.manifest import Manifest
from tests.runtime.bundles import CLASSIFIER, solid

TALL = (96, 72)
SIZES = [(96, 72), (192, 144), (60, 96), (1080, 1920), (333, 100), (97, 72), (50, 50)]


def picture(size: tuple[int, int]) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("canvas", [TALL, TALL[::-1]], ids=["tall", "wide"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_letterboxed_frames_equal_pillows(size: tuple[int, int], canvas: tuple[int, int]) -> None:
    frame = picture(size)
    theirs = ImageOps.pad(
        Image.fromarray(frame), canvas[::-1], Image.Resampling.BILINEAR, color=(9, 9, 9)
    )
    ours = Preprocess("letterbox", canvas, fill=9).prepare(frame)
    np.testing.assert_array_equal(ours.images[0], theirs)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_region_is_what_the_frame_covers(size: tuple[int, int]) -> None:
    prepared = Preprocess("letterbox", TALL, fill=9).prepare(solid(255, 255, 255, *size))
    left, top, right, bottom = np.array(prepared.regions[0]) * np.tile(TALL[::-1], 2)
    covered = np.zeros(TALL, bool)
    covered[round(top) : round(bottom), round(left) : round(right)] = True
    np.testing.assert_array_equal(prepared.images[0][..., 0], np.where(covered, 255, 9))


def test_exact_frames_are_stretched() -> None:
    frame = picture((50, 80))
    theirs = Image.fromarray(frame).resize(TALL[::-1], Image.Resampling.BILINEAR)
    batch = Preprocess("exact", TALL)([frame])
    assert batch.inputs["pixel_values"].shape == (1, 3, *TALL)
    np.testing.assert_array_equal(Preprocess("exact", TALL).prepare(frame).images[0], theirs)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"size": [96, 72]}, (96, 72)),
        ({"size": 64, "resize": "letterbox"}, (64, 64)),
        ({"size": [96, 72], "crop": 48}, (48, 48)),
        ({"size": 80, "resize": "shortest_edge", "crop": 64}, (64, 64)),
        ({"size": 80, "resize": "shortest_edge"}, (80, 80)),
    ],
    ids=lambda value: str(value) if isinstance(value, tuple) else "record",
)
def test_the_size_of_an_image(record: dict[str, Any], expected: tuple[int, int]) -> None:
    assert Preprocess.from_dict(record).image_size == expected


def test_it_goes_through_a_manifest() -> None:
    preprocess = Preprocess("letterbox", TALL, fill=114)
    manifest = dataclasses.replace(CLASSIFIER, preprocess=preprocess)
    assert Manifest.from_json(manifest.to_json()).preprocess == preprocess


@pytest.mark.parametrize(
    ("record", "error", "message"),
    [
        pytest.param({"size": [96, 72, 3]}, TypeError, "give an integer, in pixels", id="three"),
        pytest.param({"size": [96, 7.5]}, TypeError, "give an integer, in pixels", id="fraction"),
        pytest.param({"size": [96, 0]}, ValueError, r"size is \(96, 0\); give 1 to", id="nothing"),
        pytest.param({"size": "96"}, TypeError, "give an integer, in pixels", id="text"),
        pytest.param(
            {"size": [96, 72], "resize": "shortest_edge"}, ValueError, "one number", id="edge"
        ),
        pytest.param({"size": [96, 72], "resize": "tiles"}, ValueError, "one number", id="tiles"),
        pytest.param({"size": 96, "crop": [9, 9]}, TypeError, "preprocess.crop is", id="crop"),
    ],
)  # fmt: skip
def test_other_sizes_are_refused(record: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as refused:
        Preprocess.from_dict(record)
    assert "\n" not in str(refused.value)
