"""Clips: which frames are taken, and that each is prepared as a frame is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.clips import Clips
from runtime.preparation import read_preparation
from runtime.preprocess import Preprocess

FRAMES = Preprocess(resize="letterbox", size=16, std=(0.2, 0.3, 0.4), color="BGR")
CLIPS = Clips(FRAMES, length=4)


def clip(frames: int, height: int = 12, width: int = 20, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def test_a_clip_of_that_length_is_its_frames_prepared() -> None:
    clips = [clip(4), clip(4, 30, 10, seed=1)]
    batch = CLIPS(clips)
    assert batch.inputs["pixel_values"].shape == (2, 4, 3, 16, 16)
    for item, values in zip(clips, batch.inputs["pixel_values"], strict=True):
        np.testing.assert_array_equal(values, FRAMES(list(item)).inputs["pixel_values"])
    assert batch.frame_sizes == [(12, 20), (30, 10)]
    assert batch.regions == [FRAMES([item[0]]).regions[0] for item in clips]
    assert batch.counts == [1, 1]


@pytest.mark.parametrize("count", [1, 3, 5, 8, 25])
def test_frames_are_taken_from_the_middle_of_equal_parts(count: int) -> None:
    """Of any other length: the frame that is shown halfway through each quarter of the time."""
    halfway = [(quarter + 0.5) / 4 for quarter in range(4)]
    shown = [
        int(np.searchsorted(np.arange(1, count + 1) / count, time, "right")) for time in halfway
    ]
    item = clip(count)
    assert CLIPS.chosen(count) == shown
    np.testing.assert_array_equal(
        CLIPS([item]).inputs["pixel_values"], CLIPS([item[shown]]).inputs["pixel_values"]
    )


@pytest.mark.parametrize("pixels", ["BGR", "GREY", "NV12"])
def test_frames_may_have_another_layout(pixels: str) -> None:
    item = clip(4) if pixels == "BGR" else clip(4, 12, 20)[..., 0]
    found = CLIPS([item], pixels=pixels).inputs["pixel_values"][0]
    np.testing.assert_array_equal(found, FRAMES(list(item), pixels=pixels).inputs["pixel_values"])


def test_a_record_is_read_as_it_was_written() -> None:
    record = CLIPS.to_dict()
    assert record["kind"] == "clips"
    assert read_preparation(record) == CLIPS
    assert read_preparation(record).to_dict() == record


def test_the_example_is_a_clip() -> None:
    CLIPS.check([CLIPS.example], "RGB")
    assert CLIPS.example.shape == (4, 16, 16, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length": 0}, r"preprocess\.length is 0; give 1 to 4096 frames"),
        ({"length": 2.0}, r"preprocess\.length is 2\.0; give an integer"),
        ({"frames": {"pad": True}}, r"preprocess\.frames has resize 'exact' and pad True; give"),
        ({"frames": {"resize": "tiles"}}, r"preprocess\.frames has resize 'tiles' .* one image"),
        ({"frames": {"size": 0}}, r"preprocess\.size is 0; give 1 to"),
        ({"frames": 7}, r"preprocess is 7; give a mapping"),
        ({"step": 2}, r"clips has frames, length, step; give frames and length"),
    ],
    ids=["empty", "fraction", "padded", "tiled", "sizeless", "no-frames", "unknown"],
)
def test_a_record_that_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        read_preparation({"kind": "clips", "frames": {}, "length": 4, **changes})


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (clip(4), r"clips is one array of shape \(4, 12, 20, 3\); give a list"),
        ([clip(1)[0]], r"a frame of clip 0 has shape \(20, 3\); give uint8 \(height, width, 3\)"),
        ([clip(4), clip(4).astype(np.float32)], r"a frame of clip 1 is float32; give uint8"),
        ([clip(0)], r"clip 0 is shape \(0, 12, 20, 3\); give a uint8 array \(frames, height"),
        ([list(clip(4))], r"clip 0 is list; give a uint8 array"),
        ([], r"no frames"),
    ],
    ids=["one", "frame", "float", "empty", "list", "none"],
)
def test_only_clips_are_taken(items: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        CLIPS(items)


def test_clips_of_one_batch_become_one_size() -> None:
    ragged = Clips(Preprocess(resize="shortest_edge", size=16), length=4)
    with pytest.raises(ValueError, match=r"frames of one batch became \[\(16, 16\), \(16, 26\)\]"):
        ragged([clip(4, 16, 26), clip(4, 16, 16)])
