"""BGR, grey and NV12 frames against the same picture in RGB, OpenCV and the colour standards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime import Preprocess
from runtime.batch import Prepared

Picture = NDArray[np.uint8]

KINDS = [
    pytest.param(Preprocess(size=32), id="exact"),
    pytest.param(Preprocess(size=32, interpolation="nearest"), id="nearest"),
    pytest.param(Preprocess("shortest_edge", 40, crop=32, interpolation="bicubic"), id="crop"),
    pytest.param(Preprocess("shortest_edge", 40, max_size=50, pad=True), id="pad"),
    pytest.param(Preprocess("letterbox", 48, fill=7, color="BGR"), id="letterbox"),
    pytest.param(Preprocess("shortest_edge", 60, crop=90), id="as it is"),
]


def textured(height: int = 60, width: int = 94) -> Picture:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height: int, width: int) -> Picture:
    """Slow waves of every colour, without values that a conversion would cut off."""
    y, x = np.mgrid[:height, :width]
    waves = [127 + 50 * np.sin(5 * x / width + c) + 40 * np.cos(4 * y / height + c) for c in (1, 2)]
    return np.stack([waves[0], waves[1], 255 - waves[0]], -1).astype(np.uint8)


def nv12_of(picture: Picture) -> Picture:
    """As OpenCV converts, which knows only I420: the same with U and V in planes of their own."""
    cv2 = pytest.importorskip("cv2")
    height, width = picture.shape[:2]
    planar = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
    u, v = planar[height:].reshape(2, height // 2, width // 2)
    return np.vstack([planar[:height], np.dstack([u, v]).reshape(-1, width)])


def flat_nv12(height: int, y: int, u: int, v: int) -> Picture:
    frame = np.full((height * 3 // 2, 4), y, np.uint8)
    frame[height:, 0::2], frame[height:, 1::2] = u, v
    return frame


def assert_same(found: Prepared, expected: Prepared) -> None:
    np.testing.assert_array_equal(found.images[0], expected.images[0])
    assert found[1:] == expected[1:]


@pytest.mark.parametrize("preprocess", KINDS)
def test_bgr_is_rgb_in_another_order(preprocess: Preprocess) -> None:
    rgb = textured()
    assert_same(preprocess.prepare(rgb[..., ::-1], "BGR"), preprocess.prepare(rgb))
    np.testing.assert_array_equal(
        preprocess([rgb[..., ::-1].copy()], pixels="BGR").inputs["pixel_values"],
        preprocess([rgb]).inputs["pixel_values"],
    )


@pytest.mark.parametrize("preprocess", KINDS)
@pytest.mark.parametrize("axes", [2, 3])
def test_grey_is_rgb_of_equal_channels(preprocess: Preprocess, axes: int) -> None:
    grey = textured()[..., :1]
    frame = grey if axes == 3 else grey[..., 0]
    assert_same(preprocess.prepare(frame, "GREY"), preprocess.prepare(np.repeat(grey, 3, axis=2)))


@pytest.mark.parametrize("layout", ["strided", "transposed", "read-only"])
def test_frames_need_not_be_contiguous(layout: str) -> None:
    rgb = textured()
    if layout == "strided":
        frame = np.repeat(np.repeat(rgb, 2, axis=0), 2, axis=1)[::2, ::2]
    elif layout == "transposed":
        frame = np.asfortranarray(rgb)
    else:
        frame = rgb.copy()
        frame.setflags(write=False)
    preprocess = Preprocess("shortest_edge", 40, crop=32)
    assert_same(preprocess.prepare(frame), preprocess.prepare(rgb))


# By hand from ITU-R BT.601-7 and BT.709-6: full red, green and blue in limited range, rounded.
@pytest.mark.parametrize(
    ("height", "yuv", "rgb"),
    [
        pytest.param(8, (16, 128, 128), (0, 0, 0), id="black"),
        pytest.param(8, (235, 128, 128), (255, 255, 255), id="white"),
        pytest.param(8, (0, 128, 128), (0, 0, 0), id="blacker"),
        pytest.param(8, (255, 255, 255), (255, 125, 255), id="beyond"),
        pytest.param(8, (81, 90, 240), (255, 0, 0), id="red 601"),
        pytest.param(576, (145, 54, 34), (0, 255, 0), id="green 601"),
        pytest.param(576, (41, 240, 110), (0, 0, 255), id="blue 601"),
        pytest.param(578, (63, 102, 240), (255, 0, 0), id="red 709"),
        pytest.param(720, (173, 42, 26), (0, 255, 0), id="green 709"),
        pytest.param(1080, (32, 240, 118), (0, 0, 255), id="blue 709"),
    ],
)
def test_colours_of_nv12(height: int, yuv: Any, rgb: Any) -> None:
    found = Preprocess(size=2).prepare(flat_nv12(height, *yuv), "NV12").images[0]
    # Y, U and V are rounded to integers, of which one of U is 2.02 of blue.
    np.testing.assert_allclose(found, np.broadcast_to(rgb, (2, 2, 3)), atol=2)


def test_nv12_equals_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    levels = np.arange(0, 256, 15, np.uint8)
    triples = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
    # Every block of 2 x 2 has a colour of its own, and nothing is resized but the chroma, by
    # repetition.
    y, u, v = triples[: 68 * 72].reshape(68, 72, 3).transpose(2, 0, 1)
    frame = np.vstack([y.repeat(2, 0).repeat(2, 1), np.dstack([u, v]).reshape(68, 144)])
    ours = Preprocess("shortest_edge", 136, interpolation="nearest").prepare(frame, "NV12")
    theirs = cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_NV12)
    # OpenCV's coefficients are of three decimals; both round once.
    np.testing.assert_allclose(ours.images[0].astype(int), theirs, atol=1)


@pytest.mark.parametrize("preprocess", KINDS)
def test_resizing_planes_first_changes_little(preprocess: Preprocess) -> None:
    cv2 = pytest.importorskip("cv2")
    frame = nv12_of(smooth(60, 94))
    found = preprocess.prepare(frame, "NV12")
    expected = preprocess.prepare(cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_NV12))
    difference = np.abs(found.images[0].astype(int) - expected.images[0])
    assert found[1:] == expected[1:]
    # Y, U and V are rounded before the conversion instead of after it, up to twice each: half a
    # level of U is a whole one of blue. OpenCV also repeats chroma, which a filter smooths.
    assert difference.max() <= 5
    assert difference.mean() <= 0.75


@pytest.mark.parametrize(
    ("frame", "pixels", "found"),
    [
        pytest.param(np.zeros((4, 4, 3), np.uint8), "GREY", r"\(4, 4, 3\)", id="colour as grey"),
        pytest.param(np.zeros((4, 4), np.uint8), "BGR", r"\(4, 4\)", id="grey as BGR"),
        pytest.param(np.zeros((4, 4), np.uint8), "NV12", r"\(4, 4\)", id="height"),
        pytest.param(np.zeros((6, 5), np.uint8), "NV12", r"\(6, 5\)", id="odd width"),
        pytest.param(np.zeros((6, 4, 3), np.uint8), "NV12", r"\(6, 4, 3\)", id="colour as NV12"),
        pytest.param(np.zeros((0, 4), np.uint8), "NV12", r"\(0, 4\)", id="empty"),
    ],
)
def test_frames_of_another_layout(frame: Picture, pixels: str, found: str) -> None:
    with pytest.raises(ValueError, match=rf"^the frame has shape {found}; give uint8 \(.*arrays$"):
        Preprocess().prepare(frame, pixels)


@pytest.mark.parametrize("pixels", ["rgb", "", None, 3, np.zeros(2), []], ids=repr)
def test_layouts_that_there_are_not(pixels: Any) -> None:
    with pytest.raises(ValueError, match=r"use one of RGB, BGR, GREY, NV12$"):
        Preprocess()([textured()], pixels=pixels)


@pytest.mark.parametrize(
    ("shape", "pixels"), [((8, 8), "GREY"), ((8, 8, 1), "GREY"), ((12, 8), "NV12")], ids=str
)
def test_a_single_frame_is_not_a_list_of_its_rows(shape: tuple[int, ...], pixels: str) -> None:
    with pytest.raises(ValueError, match="give a list, a single one in a list too"):
        Preprocess()(np.zeros(shape, np.uint8), pixels=pixels)  # type: ignore[arg-type]
