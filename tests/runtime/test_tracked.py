"""Frames with track queries: filled up to a fixed number, and refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.golden import Golden, load_golden, save_golden
from runtime.preparation import read_preparation

RECORD = {
    "kind": "tracked",
    "frames": {"resize": "letterbox", "size": [4, 8], "mean": [0, 0, 0], "std": [1, 1, 1]},
    "queries": 3,
    "width": 2,
}
TRACKED = read_preparation(RECORD)
FRAME = np.full((4, 4, 3), 255, np.uint8)


def item(*queries: tuple[float, float]) -> dict[str, Any]:
    return {"frame": FRAME, "track_queries": np.array(queries, np.float32).reshape(-1, 2)}


def test_items_become_a_batch() -> None:
    clip = np.zeros((2, 2, 4, 3), np.uint8)
    batch = TRACKED([item((1, 2), (3, 4)), FRAME, clip])
    assert batch.counts == [1, 1, 2]
    assert batch.frame_sizes == [(4, 4), (4, 4), (2, 4)]
    # A square in the middle half of an image twice as wide; a clip that fills it.
    assert batch.regions == [(0.25, 0, 0.75, 1)] * 2 + [(0, 0, 1, 1)] * 2
    inputs = batch.inputs
    assert {name: value.shape for name, value in inputs.items()} == {
        "pixel_values": (4, 3, 4, 8),
        "track_queries": (4, 3, 2),
        "track_mask": (4, 3),
    }
    assert {value.dtype for value in inputs.values()} == {np.dtype("float32")}
    np.testing.assert_array_equal(inputs["track_queries"][0], [[1, 2], [3, 4], [0, 0]])
    np.testing.assert_array_equal(inputs["track_mask"], [[1, 1, 0], [0] * 3, [0] * 3, [0] * 3])
    np.testing.assert_array_equal(inputs["pixel_values"][0, 0], [[0, 0, 1, 1, 1, 1, 0, 0]] * 4)
    assert not inputs["pixel_values"][2:].any()


def test_the_record_comes_back() -> None:
    assert read_preparation(TRACKED.to_dict()) == TRACKED


def test_the_example_has_every_track() -> None:
    inputs = TRACKED([TRACKED.example] * 2).inputs
    assert inputs["track_mask"].all() and inputs["pixel_values"].shape == (2, 3, 4, 8)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        pytest.param("text", TypeError, "is a str", id="text"),
        pytest.param({"frame": FRAME}, TypeError, "item 0 has frame; give", id="missing"),
        pytest.param({}, TypeError, "item 0 has nothing; give", id="empty"),
        pytest.param({**item(), "track_mask": 1}, TypeError, "track_mask", id="surplus"),
        pytest.param(item(*[(1, 2)] * 4), ValueError, r"\(4, 2\); give at most", id="many"),
        pytest.param(
            {"frame": FRAME, "track_queries": np.zeros((1, 3), np.float32)},
            ValueError,
            r"\(1, 3\)",
            id="width",
        ),
        pytest.param(
            {"frame": FRAME, "track_queries": np.zeros(2, np.float32)},
            ValueError,
            r"\(2,\)",
            id="axes",
        ),
        pytest.param(
            {"frame": FRAME, "track_queries": np.zeros((1, 2))}, TypeError, "float64", id="dtype"
        ),
        pytest.param(item((np.nan, 0)), ValueError, "NaN or infinity", id="NaN"),
        pytest.param(np.zeros((0, 4, 4, 3), np.uint8), ValueError, "shape", id="empty clip"),
        pytest.param(np.zeros((2, 4, 4, 4), np.uint8), ValueError, "shape", id="no colours"),
    ],
)
def test_what_is_no_item_is_refused(wrong: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        TRACKED([wrong])
    assert "\n" not in str(caught.value)


def test_one_array_is_no_list_of_frames() -> None:
    with pytest.raises(ValueError, match="give a list"):
        TRACKED(np.stack([FRAME, FRAME]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"queries": 0}, "give at least 1", id="none"),
        pytest.param({"queries": 1 << 20}, "at most", id="huge"),
        pytest.param({"width": 2.0}, "give an integer", id="fraction"),
        pytest.param({"frames": {"resize": "tiles"}}, "give 'exact'", id="tiles"),
        pytest.param({"frames": {"resize": "shortest_edge"}}, "of one size", id="any size"),
        pytest.param({"frames": {"pad": True}}, "pad True", id="pad"),
        pytest.param({"frames": 3}, "give a mapping", id="no frames"),
        pytest.param({"length": 3}, "give frames, queries, width", id="unknown key"),
    ],
)
def test_a_wrong_record_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        read_preparation({**RECORD, **change})
    assert "\n" not in str(caught.value)


def test_golden_probes_hold_frames_with_tracks(tmp_path: Path) -> None:
    save_golden(tmp_path / "a.npz", Golden([item((1, 2))], [{"y": np.float32([1])}]))
    (found,) = load_golden(tmp_path / "a.npz").items
    for name, array in item((1, 2)).items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
