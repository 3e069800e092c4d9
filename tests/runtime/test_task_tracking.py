"""Tracks of clips against a tracker's loop written out, and the way back to the frame."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.errors import EngineError
from runtime.preprocess import Preprocess
from runtime.tasks import find_task
from runtime.tasks.task import MAIN, Graph, answers_of
from runtime.tasks.tracking import read_tracks
from runtime.tasks.tracks import ClipTracks, tracks_of
from runtime.track_queries import State, advance
from runtime.tracked import Tracked

TASK = find_task("tracking")
LABELS = ("dog", "cat")
MOST = OBJECTS = 2
PREPROCESS = Tracked(
    Preprocess(resize="letterbox", size=(2, 4), mean=(0, 0, 0), std=(1, 1, 1)), MOST, 3
)
WHOLE = (0.0, 0.0, 1.0, 1.0)


def model(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Any function of pixels and tracks: random, but fixed, layers."""
    random = np.random.default_rng(0)
    pixels = inputs["pixel_values"].reshape(len(inputs["pixel_values"]), -1)
    seen = pixels @ random.normal(size=(pixels.shape[1], 3)) * 2
    starts = np.concatenate(
        [inputs["track_queries"], np.tile(random.normal(size=(1, OBJECTS, 3)), (len(seen), 1, 1))],
        axis=1,
    )
    hidden = np.tanh(starts + seen[:, None])
    present = np.pad(inputs["track_mask"], ((0, 0), (0, OBJECTS)), constant_values=1)
    logits = hidden @ random.normal(size=(3, 3)) * 6
    logits[..., 2] += 50 * (1 - present)
    boxes = 0.2 + 0.6 / (1 + np.exp(-hidden @ random.normal(size=(3, 4)) * 4))
    return {
        "logits": logits.astype(np.float32),
        "pred_boxes": boxes.astype(np.float32),
        "hidden": hidden.astype(np.float32),
    }


GRAPHS = {MAIN: Graph(model, PREPROCESS)}


def clip(seed: int, length: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (length, 2, 4, 3), dtype=np.uint8)


def followed(frames: np.ndarray) -> list[list[tuple[int, str]]]:
    """The ids and labels of each frame, one frame after another."""
    state, found = State.of(np.zeros((0, 3), np.float32)), []
    for frame in frames:
        pixels = PREPROCESS.frames([frame]).inputs
        outputs = {k: v[0] for k, v in model({**pixels, **state.inputs(MOST)}).items()}
        state, ids = advance(state, MOST, outputs)
        tracks = tracks_of(outputs, ids, (2, 4), WHOLE, LABELS)
        found.append(list(zip(tracks.ids.tolist(), tracks.labels, strict=True)))
    return found


def answered(*items: Any) -> list[Any]:
    assert TASK.whole is not None
    batch = PREPROCESS(items)
    return answers_of(TASK.whole(GRAPHS, LABELS)(model(batch.inputs), batch), batch)


def test_clips_of_a_batch_are_followed_each_by_itself() -> None:
    clips = [clip(0, 7), clip(1, 4), clip(2, 6)]
    expected = [followed(frames) for frames in clips]
    assert len({i for frames in expected for row in frames for i, _ in row}) > 2
    for answer, frames in zip(answered(*clips), expected, strict=True):
        rows = TASK.comparable(answer, LABELS)
        assert [row.ids.tolist() for row in rows] == [[i for i, _ in row] for row in frames]


def test_a_followed_clip_says_what_each_frame_shows() -> None:
    (answer,) = answered(clip(0, 7))
    batch = PREPROCESS([clip(0, 7)])
    (found,) = TASK.predict(answer.outputs, batch, LABELS, 0.5)
    assert isinstance(found, ClipTracks)
    expected = followed(clip(0, 7))
    written = json.loads(json.dumps(found.as_json()))["frames"]
    assert [[(t["id"], t["label"]) for t in frame] for frame in written] == expected
    lengths = [int(entry.label.split()[-2]) for entry in found.entries()]
    assert lengths == sorted(lengths, reverse=True)
    assert sum(lengths) == sum(len(frame) for frame in expected)


def test_a_frame_goes_on_where_it_was_left() -> None:
    frames = clip(0, 7)
    state, at = State.of(np.zeros((0, 3), np.float32)), 0
    while not len(state.ids):
        outputs = {k: v[0] for k, v in model(PREPROCESS([frames[at]]).inputs).items()}
        state, at = advance(state, MOST, outputs)[0], at + 1
    item = {"frame": frames[at], "track_queries": state.queries}
    (answer,) = answered(item)
    batch = PREPROCESS([item])
    (found,) = TASK.predict(model(batch.inputs), batch, LABELS, 0.5)
    # The ids of a frame by itself are the places of the tracks that it was given.
    kept = [i for i, _ in followed(frames)[at] if i in state.ids]
    assert kept and [i for i in found.ids.tolist() if i < len(state.ids)] == [
        state.ids.tolist().index(i) for i in kept
    ]
    (row,) = TASK.comparable(answer, LABELS)
    np.testing.assert_array_equal(row.ids, found.ids)
    np.testing.assert_array_equal(row.boxes, found.boxes)


def test_boxes_are_in_the_frames_own_pixels() -> None:
    """A frame of 40 x 40 is letterboxed into the middle half of 2 x 4 pixels."""
    outputs = {
        "logits": np.float32([[9, 0, 0], [0, 9, 0]]),
        "pred_boxes": np.float32([[0.5, 0.5, 0.25, 0.5], [0.25, 0.5, 0.5, 1.0]]),
    }
    found = tracks_of(outputs, np.array([4, 2]), (40, 40), (0.25, 0, 0.75, 1), LABELS)
    assert found.ids.tolist() == [2, 4] and found.labels == ("cat", "dog")
    # The left half of the image, of which the frame's left half is seen; and a square in it.
    np.testing.assert_allclose(found.boxes, [[0, 0, 20, 40], [10, 10, 30, 30]])
    assert len(found) == 2


def test_an_answer_that_is_not_finite_is_told_apart() -> None:
    (answer,) = answered(clip(0, 3))
    answer.outputs["logits"][1] = np.nan
    rows = TASK.comparable(answer, LABELS)
    assert [bool(np.isnan(row.boxes).any()) for row in rows] == [False, True, False]


def test_truths_are_read(tmp_path: Path) -> None:
    assert read_tracks(tmp_path) == {}
    record = {"file": "a", "frames": [[[0, 1, 2, 3, 7]], []]}
    (tmp_path / "tracks.json").write_text(json.dumps([record]))
    first, second = read_tracks(tmp_path)["a"]
    assert first.ids.tolist() == [7] and first.boxes.tolist() == [[0, 1, 2, 3]]
    assert len(second.ids) == 0 and second.boxes.shape == (0, 4)
    (tmp_path / "tracks.json").write_text('[{"file": "a", "frames": [[[0, 1]]]}]')
    with pytest.raises(EngineError, match=r"tracks\.json does not hold tracks"):
        read_tracks(tmp_path)
