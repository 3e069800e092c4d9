"""Frames that a reader cannot use, of every pixel format and of changing sizes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from runtime.errors import EngineError
from tests.sources.connections import FRAME, connections, frames, source
from tests.sources.listening import Heard, read_all, reading

BROKEN: dict[str, tuple[str, Any]] = {
    "none": ("RGB", None),
    "not decoded": ("RGB", EngineError("frame.png is not a readable image")),
    "list": ("RGB", [[0]]),
    "float": ("RGB", np.zeros((4, 6, 3), np.float32)),
    "grey for RGB": ("RGB", np.zeros((4, 6), np.uint8)),
    "RGBA": ("BGR", np.zeros((4, 6, 4), np.uint8)),
    "no pixels": ("RGB", np.zeros((0, 6, 3), np.uint8)),
    "RGB for grey": ("GREY", FRAME),
    "two channels": ("GREY", np.zeros((4, 6, 2), np.uint8)),
    "NV12 of odd height": ("NV12", np.zeros((4, 6), np.uint8)),
    "NV12 of odd width": ("NV12", np.zeros((6, 5), np.uint8)),
}

SOUND = {
    "RGB": FRAME,
    "BGR": FRAME,
    "GREY": np.zeros((4, 6), np.uint8),
    "NV12": np.zeros((6, 6), np.uint8),
}


@pytest.mark.parametrize(("pixels", "item"), BROKEN.values(), ids=BROKEN)
def test_a_corrupt_frame_is_counted_told_and_survived(pixels: str, item: Any) -> None:
    heard = Heard()
    good = SOUND[pixels]
    with reading(source(lambda: iter([good, item, good]), pixels=pixels), heard) as reader:
        heard.wait_for_kind("ended")
    assert heard.ids == [0, 2]
    assert heard.kinds == ["connected", "corrupt", "ended"]
    assert heard.details("corrupt")[0].startswith("frame 1")
    assert (reader.received, reader.corrupt) == (3, 1)


@pytest.mark.parametrize(
    ("pixels", "good"),
    [*SOUND.items(), ("GREY", np.zeros((4, 6, 1), np.uint8))],
    ids=[*SOUND, "GREY with its axis"],
)
def test_frames_of_every_pixel_format_pass(pixels: str, good: Any) -> None:
    heard = read_all(source(lambda: iter([good, good]), pixels=pixels))
    assert heard.ids == [0, 1]


def test_many_corrupt_frames_make_few_events_and_are_counted() -> None:
    items = [None if number % 2 else FRAME for number in range(1000)]
    heard = Heard()
    counted = itertools.count()
    with reading(source(lambda: iter(items)), heard, unusable=lambda: next(counted)):
        heard.wait_for_kind("ended")
    assert len(heard.frames) == next(counted) == 500
    first, rest = heard.details("corrupt")
    assert first.startswith("frame 1")
    assert rest.startswith("499 frames could not be used, the last: frame 999 ")


def test_a_change_of_size_is_told_and_frames_go_on() -> None:
    wide, tall = np.zeros((4, 6, 3), np.uint8), np.zeros((8, 5, 3), np.uint8)
    heard = read_all(source(lambda: iter([wide, wide, tall, tall])))
    assert heard.ids == [0, 1, 2, 3]
    assert heard.details("resized") == ["from 6 x 4 to 5 x 8 at frame 2"]


def test_a_camera_that_comes_back_with_another_size_is_told() -> None:
    heard = Heard()
    tall = np.zeros((8, 5, 3), np.uint8)
    with reading(connections(frames(1), iter([tall])), heard):
        heard.wait_for_kind("resized")
    assert heard.kinds[:4] == ["connected", "lost", "connected", "resized"]
