from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime import Preprocess
from tests.runtime.bundles import PLAIN, solid

SHORTEST = dataclasses.replace(PLAIN, resize="shortest_edge")


def textured(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# Expected by hand: (height, width), size, max_size -> (height, width).
@pytest.mark.parametrize(
    ("frame", "size", "max_size", "expected"),
    [
        pytest.param((480, 640), 224, None, (224, 298), id="landscape truncates 298.67"),
        pytest.param((640, 480), 224, None, (298, 224), id="portrait"),
        pytest.param((50, 50), 224, None, (224, 224), id="square grows"),
        pytest.param((224, 999), 224, None, (224, 999), id="already fits"),
        pytest.param((480, 640), 800, 1333, (800, 1066), id="detr, below the cap"),
        pytest.param((400, 1000), 800, 1333, (533, 1333), id="detr, capped"),
        pytest.param((1000, 300), 800, 1333, (1333, 400), id="detr, capped portrait"),
        pytest.param((1, 1), 224, None, (224, 224), id="one pixel"),
        pytest.param((1, 4000), 800, 1333, (1, 1333), id="never zero pixels high"),
    ],
)
def test_shortest_edge(
    frame: tuple[int, int], size: int, max_size: int | None, expected: tuple[int, int]
) -> None:
    preprocess = dataclasses.replace(SHORTEST, size=size, max_size=max_size)
    batch = preprocess([np.zeros((*frame, 3), np.uint8)])
    assert batch.inputs["pixel_values"].shape == (1, 3, *expected)
    assert batch.frame_sizes == [frame]


def test_values_channels_and_statistics() -> None:
    rgb = Preprocess(size=2, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    values = rgb([solid(255, 0, 51, 2, 2)]).inputs["pixel_values"]
    assert values.dtype == np.float32
    # By hand: (1 - .5) / .5, (0 - .25) / .25, (.2 - 0) / 2; float32 rounding of ~2 operations.
    np.testing.assert_allclose(values[0, :, 1, 0], [1.0, -1.0, 0.1], atol=3e-7)
    bgr = dataclasses.replace(rgb, color="BGR")([solid(51, 0, 255, 2, 2)]).inputs["pixel_values"]
    np.testing.assert_array_equal(bgr, values)


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((8, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    values = PLAIN([stripes]).inputs["pixel_values"]
    # Each output pixel covers four black and four white columns: grey, within the 8-bit
    # rounding and the filter's overlap; sampling without a filter would give 0 or 1.
    assert np.abs(values - 0.5).max() < 0.05


@pytest.mark.parametrize(
    ("height", "width", "top", "left"),
    [
        pytest.param(8, 9, 2, 2, id="half rounds to even, down"),
        pytest.param(7, 11, 2, 4, id="half rounds to even, up"),
        pytest.param(4, 4, 0, 0, id="whole"),
    ],
)
def test_centre_crop_offsets(height: int, width: int, top: int, left: int) -> None:
    frame = textured(height, width)
    crop = dataclasses.replace(SHORTEST, size=min(height, width), crop=4)
    values = crop([frame]).inputs["pixel_values"][0].transpose(1, 2, 0)
    # One rounding of a float32 product.
    np.testing.assert_allclose(values * 255, frame[top : top + 4, left : left + 4], atol=1e-4)


def test_centre_crop_of_a_smaller_frame_surrounds_it_with_zeros() -> None:
    crop = dataclasses.replace(SHORTEST, size=3, crop=6)
    values = crop([solid(255, 255, 255, 3, 3)]).inputs["pixel_values"][0, 0]
    expected = np.zeros((6, 6), np.float32)
    expected[1:4, 1:4] = 1  # 3 rows are missing: 1 before, 2 after
    np.testing.assert_array_equal(values, expected)


def test_padding_makes_one_batch_of_ragged_frames() -> None:
    pad = dataclasses.replace(SHORTEST, pad=True)
    inputs = pad([solid(255, 255, 255, 8, 12), solid(255, 255, 255, 16, 8)]).inputs
    expected = np.zeros((2, 16, 12), np.int64)
    expected[0, :8, :12] = 1
    expected[1, :16, :8] = 1
    assert inputs["pixel_mask"].dtype == np.int64
    np.testing.assert_array_equal(inputs["pixel_mask"], expected)
    np.testing.assert_array_equal(inputs["pixel_values"][:, 0], expected)


def test_ragged_frames_without_padding_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(8, 8\), \(8, 12\).*set `crop`, `pad`"):
        SHORTEST([solid(0, 0, 0, 8, 12), solid(0, 0, 0)])


@pytest.mark.parametrize(
    ("frame", "error", "found"),
    [
        pytest.param(np.zeros((4, 4), np.uint8), ValueError, r"shape \(4, 4\)", id="grey"),
        pytest.param(np.zeros((4, 4, 4), np.uint8), ValueError, r"shape \(4, 4, 4\)", id="rgba"),
        pytest.param(np.zeros((0, 4, 3), np.uint8), ValueError, r"\(0, 4, 3\)", id="empty"),
        pytest.param(np.zeros((4, 4, 3), np.float32), TypeError, "float32", id="float"),
        pytest.param(np.zeros((4, 4, 3), np.uint16), TypeError, "uint16", id="16-bit"),
        pytest.param([[1]], TypeError, "list", id="list"),
    ],
)
def test_what_is_not_a_frame(frame: Any, error: type[Exception], found: str) -> None:
    with pytest.raises(error, match=rf"frame 1 .*{found}.*; give uint8") as caught:
        PLAIN([solid(0, 0, 0), frame])
    assert "\n" not in str(caught.value)


def test_no_frames() -> None:
    with pytest.raises(ValueError, match="no frames; a batch needs at least one"):
        PLAIN([])


def test_a_single_frame_outside_a_list_is_explained() -> None:
    with pytest.raises(ValueError, match="a single one in a list"):
        PLAIN(solid(0, 0, 0))  # type: ignore[arg-type]


def test_an_extreme_strip_does_not_exhaust_memory() -> None:
    with pytest.raises(ValueError, match="less extreme aspect ratio"):
        dataclasses.replace(SHORTEST, size=224)([np.zeros((1, 60_000, 3), np.uint8)])


@pytest.mark.parametrize("shape", [(1, 10**8, 3), (10**8, 1, 3), (1 << 14, 1 << 14, 3)], ids=str)
def test_a_frame_of_too_many_pixels_is_refused_before_it_is_copied(
    shape: tuple[int, int, int],
) -> None:
    huge = np.broadcast_to(np.uint8(7), shape)  # one byte of memory
    with pytest.raises(ValueError, match=rf"frame 0 has {shape[0]} x {shape[1]} pixels; give at"):
        PLAIN([huge])


def test_batches_of_prepared_frames_are_those_of_frames() -> None:
    pad = dataclasses.replace(SHORTEST, pad=True)
    frames = [textured(8, 12), textured(16, 8)]
    whole, parts = pad(frames), pad.collate([pad.prepare(frame) for frame in frames])
    for name, array in whole.inputs.items():
        np.testing.assert_array_equal(parts.inputs[name], array)
    assert whole[1:] == parts[1:] == ([(8, 12), (16, 8)], [(0, 0, 1, 1)] * 2, [1, 1])


@pytest.mark.parametrize("color", ["RGB", "BGR"])
def test_a_frame_is_the_same_numbers_alone_and_beside_larger_ones(color: str) -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    pad = dataclasses.replace(SHORTEST, pad=True, mean=mean, std=std, color=color)
    frame = textured(8, 12)
    channels = (frame if color == "RGB" else frame[..., ::-1]).transpose(2, 0, 1)
    expected = [
        plane.astype(np.float32) * np.float32(1 / (255 * s)) - np.float32(m / s)
        for plane, m, s in zip(channels, mean, std, strict=True)
    ]
    (alone,) = pad([frame]).inputs["pixel_values"]
    beside = pad([frame, textured(16, 8)]).inputs["pixel_values"][0]
    np.testing.assert_array_equal(alone, expected)
    np.testing.assert_array_equal(beside[:, :8], expected)
    assert not beside[:, 8:].any()


@pytest.mark.parametrize("size", [8, 4], ids=["as it is", "smaller"])
def test_a_prepared_frame_outlives_its_buffer(size: int) -> None:
    frame = textured(8, 8)  # a camera may write its next frame into the same memory
    prepared = Preprocess(size=size).prepare(frame)
    before = prepared.images[0].copy()
    frame[:] = 0
    np.testing.assert_array_equal(prepared.images[0], before)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param({"resize": "stretch"}, ValueError, "'stretch'; use one of", id="resize"),
        pytest.param({"interpolation": "area"}, ValueError, "bicubic", id="interpolation"),
        pytest.param({"color": "rgb"}, ValueError, "RGB, BGR", id="color"),
        pytest.param({"size": 0}, ValueError, "give 1 to 8192", id="size zero"),
        pytest.param({"crop": 10**9}, ValueError, "give 1 to 8192", id="crop huge"),
        pytest.param({"mean": [0, 0, 10**400]}, ValueError, "finite", id="mean huge"),
        pytest.param({"size": 224.0}, TypeError, "integer", id="size float"),
        pytest.param({"size": True}, TypeError, "integer", id="size bool"),
        pytest.param({"crop": "8"}, TypeError, "crop is '8'", id="crop text"),
        pytest.param({"max_size": 300}, ValueError, "needs 'shortest_edge'", id="max_size exact"),
        pytest.param({"mean": [0.1, 0.2]}, ValueError, "three finite", id="mean of two"),
        pytest.param({"mean": 0.5}, ValueError, "three finite", id="mean scalar"),
        pytest.param({"std": [1, 0, 1]}, ValueError, "three positive", id="std zero"),
        pytest.param({"std": [1, float("nan"), 1]}, ValueError, "finite", id="std NaN"),
        pytest.param({"std": [1, 1e-320, 1]}, ValueError, "make values over", id="std tiny"),
        pytest.param({"mean": [1e200, 0, 0]}, ValueError, "make values over", id="mean large"),
        pytest.param({"pad": 1}, TypeError, "true or false", id="pad number"),
        pytest.param({"colour": "RGB"}, ValueError, "has colour; it knows resize", id="unknown"),
    ],
)
def test_fields_are_validated(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Preprocess.from_dict(change)


def test_dict_round_trip() -> None:
    detr = Preprocess("shortest_edge", 800, max_size=1333, color="BGR", pad=True)
    assert Preprocess.from_dict(detr.to_dict()) == detr
    assert detr.to_dict()["mean"] == [0.5, 0.5, 0.5]
