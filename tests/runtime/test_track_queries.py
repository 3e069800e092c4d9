"""What a tracker does between two frames, one rule at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runtime.track_queries import Rules, State, advance

MOST, OBJECTS = 3, 2
APART = [[0.1 + 0.2 * i, 0.5, 0.1, 0.1] for i in range(MOST + OBJECTS)]


def outputs(*scores: float, boxes: Any = APART) -> dict[str, np.ndarray]:
    """Of three tracks and two object queries with these scores; hidden is 10 times the place."""
    score = np.array(scores, np.float32)[:, None]
    with np.errstate(divide="ignore"):
        logits = np.concatenate([np.log(score), np.log(1 - score)], axis=1)
    hidden = 10 * np.arange(len(scores), dtype=np.float32)[:, None]
    return {"logits": logits, "pred_boxes": np.array(boxes, np.float32), "hidden": hidden}


def state(*lost: int, following: int = 9) -> State:
    """Tracks 5, 6 ... with queries -1, -2 ..., lost for so many frames."""
    count = len(lost)
    queries = -np.arange(1, count + 1, dtype=np.float32)[:, None]
    return State(np.arange(5, 5 + count), queries, np.array(lost, np.int64), following)


def test_objects_begin_tracks_the_surest_first() -> None:
    after, ids = advance(state(), MOST, outputs(0.9, 0.9, 0.9, 0.6, 0.8))
    # The first three outputs are of tracks that there are none of.
    assert ids.tolist() == [-1, -1, -1, 10, 9]
    assert after.ids.tolist() == [9, 10] and after.following == 11
    assert after.queries[:, 0].tolist() == [40, 30]


def test_tracks_stay_with_new_queries() -> None:
    after, ids = advance(state(0, 0), MOST, outputs(0.6, 0.7, 0, 0.1, 0.1))
    assert ids.tolist() == [5, 6, -1, -1, -1]
    assert dict(zip(after.ids.tolist(), after.queries[:, 0].tolist(), strict=True)) == {5: 0, 6: 10}
    assert not after.lost.any()


def test_a_lost_track_keeps_its_query_and_is_given_up_at_last() -> None:
    now, seen = state(0), []
    for _ in range(4):
        now, ids = advance(now, MOST, outputs(0.1, 0, 0, 0, 0), Rules(patience=3))
        assert (ids == -1).all()
        seen.append(list(zip(now.ids.tolist(), now.queries[:, 0], now.lost.tolist(), strict=True)))
    assert seen == [[(5, -1, 1)], [(5, -1, 2)], [(5, -1, 3)], []]


def test_each_kind_of_track_has_its_own_score() -> None:
    rules = Rules(detect=0.8, keep=0.3, find=0.6)
    _, ids = advance(state(0, 2, 2), MOST, outputs(0.4, 0.5, 0.7, 0.7, 0.9), rules)
    assert ids.tolist() == [5, -1, 7, -1, 9]


def test_what_coincides_with_a_surer_track_is_gone() -> None:
    boxes = [APART[0], APART[0], APART[2], APART[2], APART[4]]
    found = outputs(0.6, 0.9, 0.6, 0.99, 0.7, boxes=boxes)
    after, ids = advance(state(0, 0, 0), MOST, found, Rules(patience=5))
    # Of two tracks the surer stays, and the other is not even lost; a new object gives way to a
    # track of any score.
    assert ids.tolist() == [-1, 6, 7, -1, 9]
    assert sorted(after.ids.tolist()) == [6, 7, 9]


@pytest.mark.parametrize(("overlap", "kept"), [(0.6, 1), (0.7, 2)])
def test_how_much_boxes_must_coincide(overlap: float, kept: int) -> None:
    # Sides of 0.1, 0.02 apart: IoU is 0.08 / 0.12.
    boxes = [*APART[:3], [0.5, 0.5, 0.1, 0.1], [0.52, 0.5, 0.1, 0.1]]
    _, ids = advance(state(), MOST, outputs(0, 0, 0, 0.9, 0.9, boxes=boxes), Rules(overlap=overlap))
    assert (ids >= 0).sum() == kept


def test_there_is_room_for_so_many() -> None:
    # Two tracks stay and one begins: nothing is left for the lost one, and then for the weaker new.
    after, ids = advance(state(0, 0, 2), MOST, outputs(0.9, 0.9, 0.1, 0.6, 0.8))
    assert ids.tolist() == [5, 6, -1, -1, 9]
    assert sorted(after.ids.tolist()) == [5, 6, 9] and after.following == 10
    # Of two lost ones the one that was lost last stays.
    after, _ = advance(state(3, 1), 2, outputs(0.1, 0.1, 0.9))
    assert after.ids.tolist() == [9, 6]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_shows_nothing(wrong: float) -> None:
    found = outputs(0.9, 0, 0, 0.9, 0)
    found["logits"][:] = wrong
    after, ids = advance(state(0), MOST, found)
    assert (ids == -1).all() and after.ids.tolist() == [5]


def test_the_inputs_are_filled_up() -> None:
    inputs = state(0, 4).inputs(MOST)
    np.testing.assert_array_equal(inputs["track_queries"], [[[-1], [-2], [0]]])
    np.testing.assert_array_equal(inputs["track_mask"], [[1, 1, 0]])
    assert {value.dtype for value in inputs.values()} == {np.dtype("float32")}


@pytest.mark.parametrize(
    "wrong", [{"keep": 1.5}, {"overlap": -1}, {"detect": float("nan")}, {"patience": 1.5}]
)
def test_rules_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*; give"):
        Rules(**wrong)
