from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from drawing import COLOURS, annotate, describe
from PIL import Image

from runtime.pipeline import Result
from runtime.tasks.classification import Classification, Guess
from runtime.tasks.detection import Detections
from runtime.tasks.keypoints import Keypoints
from runtime.tasks.restoration import Restoration
from runtime.tasks.segmentation import Segmentation

LEFT, TOP, RIGHT, BOTTOM = BOX = (40, 60, 120, 140)


def detections(*boxes: tuple[float, float, float, float]) -> Detections:
    """Of classes 0, 1, ... in this order."""
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(n, 4),
        np.linspace(0.9, 0.8, n, dtype=np.float32),
        tuple("abcdefgh"[:n]),
        np.arange(n),
    )


def result(prediction: Any, frame: Any = None, pixels: str = "RGB") -> Result:
    frame = np.full((200, 160, 3), 90, np.uint8) if frame is None else frame
    return Result("gate", 0, 0.0, 1.0, prediction, frame, pixels)


def coloured(picture: Image.Image, colour: tuple[int, int, int]) -> Any:
    """Which pixels (H, W) have this colour."""
    return (np.asarray(picture) == colour).all(axis=2)


@pytest.mark.parametrize("scale", [1, 3])
def test_a_box_is_drawn_where_the_object_is(scale: int) -> None:
    picture = annotate(result(detections(BOX)), (200 * scale, 200 * scale))
    assert picture.size == (160 * scale, 200 * scale)
    drawn = coloured(picture, COLOURS[0])
    rows, columns = np.nonzero(drawn)
    assert (columns.min(), columns.max() + 1) == (LEFT * scale, RIGHT * scale)
    assert rows.max() + 1 == BOTTOM * scale
    edges = drawn[TOP * scale : BOTTOM * scale, LEFT * scale : RIGHT * scale]
    assert edges[0].all() and edges[-1].all() and edges[:, 0].all() and edges[:, -1].all()
    inside = drawn[TOP * scale + 10 : BOTTOM * scale - 10, LEFT * scale + 10 : RIGHT * scale - 10]
    assert not inside.any()


def test_classes_have_colours_of_their_own() -> None:
    picture = annotate(result(detections((10, 30, 60, 80), (80, 110, 150, 190))))
    for colour, (left, bottom) in zip(COLOURS, ((10, 80), (80, 190)), strict=False):
        assert coloured(picture, colour)[bottom - 1, left]


@pytest.mark.parametrize(
    "box", [(0, 0, 50, 40), (150, 20, 160, 50), (0, 190, 20, 200)], ids=["corner", "right", "low"]
)
def test_a_label_stays_whole_in_the_picture(box: tuple[int, int, int, int]) -> None:
    def ink(box: tuple[int, int, int, int]) -> int:
        """How many pixels are text: it alone is darker than the frame's grey 90."""
        return int((np.asarray(annotate(result(detections(box))))[..., 0] < 80).sum())

    assert ink(box) == ink((50, 100, 100, 150)) > 0


def test_a_frame_keeps_what_is_not_drawn_on() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (200, 160, 3), dtype=np.uint8)
    picture = np.asarray(annotate(result(detections(), frame)))
    assert np.array_equal(picture, frame)


@pytest.mark.parametrize("pixels", ["RGB", "BGR", "GREY", "NV12"])
def test_every_layout_of_a_camera_is_shown_in_its_colours(pixels: str) -> None:
    red = (200, 30, 40)
    frame = np.full((96, 128, 3), red, np.uint8)
    expected = np.array(red)
    if pixels == "BGR":
        frame = np.ascontiguousarray(frame[..., ::-1])
    elif pixels == "GREY":
        frame, expected = np.full((96, 128), 77, np.uint8), np.array([77, 77, 77])
    elif pixels == "NV12":
        # Limited-range BT.601 of that red, by ITU-R BT.601-7: Y, Cb, Cr.
        r, g, b = (c / 255 for c in red)
        luma = 0.299 * r + 0.587 * g + 0.114 * b
        y, u, v = 16 + 219 * luma, 128 + 112 * (b - luma) / 0.886, 128 + 112 * (r - luma) / 0.701
        frame = np.full((144, 128), round(y), np.uint8)
        frame[96:, 0::2], frame[96:, 1::2] = round(u), round(v)
    shown = np.asarray(annotate(result(detections(), frame, pixels)))
    assert shown.shape == (96, 128, 3)
    # Rounding Y, U and V to integers moves a channel by up to 1.2 + 2 grey levels.
    assert np.abs(shown.astype(int) - expected).max() <= (4 if pixels == "NV12" else 0)


def test_a_class_becomes_a_caption_and_words() -> None:
    found = result(Classification((Guess("cat", 3, 0.75), Guess("dog", 4, 0.2))))
    changed = (np.asarray(annotate(found)) != 90).any(axis=2)
    assert changed[-20:].any()  # at the bottom
    assert not changed[:-40].any()  # and nowhere else
    assert describe(found) == "cat"


def test_objects_are_named_the_surest_first() -> None:
    found = detections(BOX, (0, 0, 9, 9), BOX)
    assert describe(result(found)) == "a, b, c"
    assert describe(result(dataclasses.replace(found, labels=("b", "a", "b")))) == "b (2), a"
    assert describe(result(detections())) == "nothing found"


@pytest.mark.parametrize("scale", [1, 2])
def test_a_segmentation_colours_the_frame_and_names_its_classes(scale: int) -> None:
    classes = np.zeros((200, 160), np.uint8)
    classes[50:90, 70:] = 2
    found = result(Segmentation(classes, ("wall", "door", "lamp")))
    picture = np.asarray(annotate(found, (200 * scale, 200 * scale)))[::scale, ::scale]
    # Away from the names, which stand at the left and at the bottom.
    for index, (row, column) in ((2, (50, 70)), (2, (89, 159)), (0, (49, 70)), (0, (90, 159))):
        halfway = (np.array(COLOURS[index]) + 90) / 2
        assert np.abs(picture[row, column] - halfway).max() <= 1  # rounding
    for index, shown in ((0, True), (1, False), (2, True)):  # plates are in the whole colour
        assert coloured(annotate(found), COLOURS[index]).any() == shown
    assert describe(found) == "wall, lamp"


@pytest.mark.parametrize("scale", [1, 3])
def test_a_keypoint_is_a_dot_where_it_is(scale: int) -> None:
    points = np.array([(40.0, 60.0), (120.5, 150.5), (80.0, 20.0)], np.float32)
    scores = np.array([0.9, 0.8, 0.3], np.float32)
    names = ("head", "foot", "hand")
    found = result(Keypoints(points, scores, names, threshold=0.5, frame_size=(200, 160)))
    picture = annotate(found, (200 * scale, 200 * scale))
    for index, (x, y) in enumerate(points[:2]):
        drawn = coloured(picture, COLOURS[index])
        row, column = int(y * scale), int(x * scale)
        for line, middle in ((drawn[row], x * scale), (drawn[:, column], y * scale)):
            # The run of the dot's colour through its centre: its ends are as far on both sides.
            others = np.flatnonzero(~line)
            first = others[others < middle].max() + 1
            end = others[others >= middle].min()
            assert end - first >= 3
            assert (first + end) / 2 == pytest.approx(middle, abs=1)
    assert not coloured(picture, COLOURS[2]).any()
    assert describe(found) == "head, foot"


def test_a_restored_frame_takes_the_place_of_what_was_seen() -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 160, 3), dtype=np.uint8)
    found = result(Restoration(image))
    np.testing.assert_array_equal(np.asarray(annotate(found)), image)
    assert describe(found) == "restored"
