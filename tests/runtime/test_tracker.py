"""A session over an engine: what it keeps between frames, loses, finds again and forgets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from runtime import Engine
from runtime.track_queries import Rules
from runtime.tracker import Tracker
from tests.runtime.bundles import BACKENDS, solid, write_bundle
from tests.runtime.tracking_bundle import BLACK, RED, write_tracking_bundle


@pytest.fixture(params=BACKENDS)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    pytest.importorskip(request.param)
    with Engine.load(write_tracking_bundle(tmp_path / "square", request.param)) as engine:
        yield engine


def ids(tracker: Tracker, *frames: np.ndarray) -> list[list[int]]:
    return [tracker(frame).ids.tolist() for frame in frames]


def test_an_object_keeps_its_id(engine: Engine) -> None:
    tracker = Tracker(engine)
    # The object query sees the square too; what coincides with a track is no new one.
    assert ids(tracker, RED, RED, RED) == [[0]] * 3
    (entry,) = tracker(RED).entries()
    assert entry.label == "square 0"
    assert entry.box == pytest.approx((2, 2, 6, 6))


def test_boxes_are_in_the_frames_own_pixels(engine: Engine) -> None:
    found = Tracker(engine)(solid(255, 0, 0, height=16, width=40))
    np.testing.assert_allclose(found.boxes, [[10, 4, 30, 12]])


@pytest.mark.parametrize(("hidden", "after"), [(5, 0), (6, 1)], ids=["found", "given up"])
def test_a_lost_object_is_found_again_for_some_frames(
    engine: Engine, hidden: int, after: int
) -> None:
    tracker = Tracker(engine, Rules(patience=5))
    assert ids(tracker, RED, *[BLACK] * hidden, RED) == [[0], *[[]] * hidden, [after]]


def test_trackers_over_one_engine_know_nothing_of_each_other(engine: Engine) -> None:
    one, other = Tracker(engine, Rules(patience=0)), Tracker(engine)
    assert ids(one, RED, BLACK, RED) == [[0], [], [1]]
    assert ids(other, RED) == [[0]]


def test_what_is_no_frame_leaves_the_tracks(engine: Engine) -> None:
    tracker = Tracker(engine)
    tracker(RED)
    with pytest.raises(ValueError, match="give uint8"):
        tracker(np.stack([RED, RED]))
    assert ids(tracker, RED) == [[0]]


def test_no_id_is_given_twice(engine: Engine, tmp_path: Path) -> None:
    tracker = Tracker(engine)
    tracker(RED)
    tracker.clear()
    assert ids(tracker, RED) == [[1]]
    engine.reload()
    assert ids(tracker, RED, RED) == [[2], [2]]


def test_an_engine_of_another_task_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with (
        Engine.load(write_bundle(tmp_path / "colour")) as engine,
        pytest.raises(ValueError, match="for classification, expected one for tracking"),
    ):
        Tracker(engine)


def test_the_engine_itself_takes_frames_one_by_one(engine: Engine) -> None:
    fresh, followed = engine([RED, {"frame": RED, "track_queries": np.float32([[3, 4]])}])
    assert [e.label for e in fresh.entries()] == ["square 0"]
    assert [e.label for e in followed.entries()] == ["square 0"]
    with pytest.raises(ValueError, match="one after another"):
        engine([np.stack([RED, RED])])
