"""Items that are inputs already: stacked, lengthened with zeros, and refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.errors import EngineError
from runtime.golden import Golden, check, load_golden, save_golden
from runtime.preparation import read_preparation
from runtime.tensors import Tensors

RECORD = {
    "kind": "tensors",
    "shapes": {"features": [3, 2], "position": []},
    "integers": ["position"],
}
TENSORS = read_preparation(RECORD)


def item(length: int, position: int) -> dict[str, Any]:
    return {
        "features": np.full((length, 2), length, np.float32),
        "position": np.array(position, np.int64),
    }


def test_items_become_a_batch() -> None:
    batch = TENSORS([item(1, 5), item(3, 7)])
    np.testing.assert_array_equal(
        batch.inputs["features"], [[[1, 1], [0, 0], [0, 0]], [[3, 3], [3, 3], [3, 3]]]
    )
    np.testing.assert_array_equal(batch.inputs["position"], [5, 7])
    assert batch.inputs["features"].dtype == np.float32
    assert batch.inputs["position"].dtype == np.int64
    assert batch.counts == [1, 1]


def test_the_record_comes_back() -> None:
    assert TENSORS.to_dict() == RECORD
    assert read_preparation(TENSORS.to_dict()) == TENSORS


def test_the_example_is_an_item() -> None:
    inputs = TENSORS([TENSORS.example] * 2).inputs
    assert {name: array.shape for name, array in inputs.items()} == {
        "features": (2, 3, 2),
        "position": (2,),
    }


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        pytest.param("text", TypeError, "give arrays for features, position", id="text"),
        pytest.param({"features": np.zeros((1, 2))}, TypeError, "give arrays for", id="missing"),
        pytest.param(item(4, 0), ValueError, r"features has shape \(4, 2\)", id="too long"),
        pytest.param(
            {**item(1, 0), "features": np.zeros(3, np.float32)}, ValueError, "shape", id="axes"
        ),
        pytest.param(
            {**item(1, 0), "position": np.float32(1)}, TypeError, "position is float32", id="dtype"
        ),
    ],
)
def test_what_is_no_item_is_refused(wrong: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        TENSORS([wrong])
    assert "\n" not in str(caught.value)


def test_no_items_are_no_batch() -> None:
    with pytest.raises(ValueError, match="at least one"):
        TENSORS([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"shapes": {}}, "give the shape of each input", id="none"),
        pytest.param({"shapes": 3}, "give the shape of each input", id="no mapping"),
        pytest.param({"shapes": {"x": [0]}}, "give positive lengths", id="empty axis"),
        pytest.param({"shapes": {"x": [1 << 20, 1 << 20]}}, "at most", id="huge"),
        pytest.param({"shapes": {"x": 3}}, "give a list of lengths", id="no list"),
        pytest.param({"integers": ["y"]}, "give names among", id="unknown integer"),
        pytest.param({"sizes": {}}, "it knows shapes, integers", id="unknown key"),
        pytest.param({"kind": "smells"}, "use one of frames", id="unknown kind"),
    ],
)
def test_a_wrong_record_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        read_preparation({**RECORD, **change})
    assert "\n" not in str(caught.value)


def test_golden_probes_of_tensors(tmp_path: Path) -> None:
    def total(inputs: Any) -> dict[str, Any]:
        return {"total": inputs["features"].sum(axis=(1, 2)) + inputs["position"]}

    items = [item(1, 5), item(3, 7)]
    answers = [{"total": np.float32(2 + 5)}, {"total": np.float32(18 + 7)}]
    save_golden(tmp_path / "a.npz", Golden(items, answers))
    found = load_golden(tmp_path / "a.npz")
    assert found.items[0].keys() == items[0].keys()
    np.testing.assert_array_equal(found.items[1]["features"], items[1]["features"])
    assert isinstance(TENSORS, Tensors)
    # Sums of small integers are exact.
    assert check(total, TENSORS, found, 1.0) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        pytest.param(
            {"input.x_000": np.float32([np.nan]), "y_000": np.float32([1])}, "not finite", id="NaN"
        ),
        pytest.param(
            {"text_000": np.uint8([255]), "y_000": np.float32([1])}, "utf-8", id="no UTF-8"
        ),
        pytest.param(
            {
                "text_000": np.uint8([65]),
                "input.x_000": np.float32([1]),
                "y_000": np.float32([1]),
            },
            "an item of input.x, text",
            id="two kinds",
        ),
    ],
)
def test_probes_that_are_no_items(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(EngineError, match=f"holds no probes .*{message}"):
        load_golden(tmp_path / "a.npz")


def test_a_text_is_kept_as_it_is(tmp_path: Path) -> None:
    save_golden(tmp_path / "a.npz", Golden(["ein süßes ☃"], [{"y": np.float32([1])}]))
    assert load_golden(tmp_path / "a.npz").items == ["ein süßes ☃"]
