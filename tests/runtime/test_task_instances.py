"""Instances: masks against PyTorch's sampling, where they lie in the frame, and run lengths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import EngineError, Preprocess
from runtime.tasks import Answer, find_task
from runtime.tasks.cutouts import Cutout, mask_iou, paste
from runtime.tasks.instances import Instances, find, read_instances
from runtime.tasks.run_lengths import from_runs, to_runs

torch = pytest.importorskip("torch")

TASK = find_task("instances")
WHOLE = (0.0, 0.0, 1.0, 1.0)
NAMES = ("cat", "dog", "owl")


def sampled(logits: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The logits at the centre of each pixel of a frame, as PyTorch's own sampling has them."""
    places = [
        (torch.arange(length, dtype=torch.float64) + 0.5 - box[axis]) / (box[axis + 2] - box[axis])
        for axis, length in ((0, size[1]), (1, size[0]))
    ]
    rows, columns = torch.meshgrid(places[1], places[0], indexing="ij")
    grid = 2 * torch.stack([columns, rows], dim=-1)[None] - 1
    found: np.ndarray = torch.nn.functional.grid_sample(
        torch.from_numpy(logits)[None, None].double(), grid, padding_mode="border",
        align_corners=False,
    )[0, 0].numpy()  # fmt: skip
    return found


def inside(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels of a frame whose centres lie in a box."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    across = (columns >= box[0]) & (columns < box[2])
    return across & (rows >= box[1]) & (rows < box[3])


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 25), st.integers(1, 25), st.floats(-20, 30),
    st.floats(-20, 30), st.floats(0.1, 40), st.floats(0.1, 40), st.integers(0, 10_000),
)  # fmt: skip
def test_a_pasted_mask_is_pytorchs_sampling_within_the_box(
    side: int, height: int, width: int, left: float, top: float, across: float, down: float,
    seed: int,
) -> None:  # fmt: skip
    size = (height, width)
    logits = np.random.default_rng(seed).normal(size=(side, side)).astype(np.float32)
    box = np.array([left, top, left + across, top + down], np.float32)
    found = paste(logits, box, size).on(size)
    expected = sampled(logits, box.astype(np.float64), size)
    # float32 places of up to 60 pixels in a box of 0.1 are uncertain by 1e-4 of it, and so are
    # logits that differ by up to 4 a cell.
    sure = np.abs(expected) > 1e-2
    assert (found == ((expected > 0) & inside(box, size)))[sure].all()


def test_a_mask_of_a_box_outside_the_frame_is_empty() -> None:
    logits = np.ones((4, 4), np.float32)
    for box in ((-9, 2, -1, 5), (2, 30, 5, 40), (3, 3, 3, 3), (2.6, 1, 3.4, 5)):
        found = paste(logits, np.array(box, np.float32), (20, 30))
        assert found.pixels.size == 0 and not found.on((20, 30)).any()


def test_a_cutout_is_its_bounds() -> None:
    mask = np.zeros((7, 9), bool)
    mask[2, 3], mask[4, 6] = True, True
    found = Cutout.of(mask)
    assert found.bounds == (3, 2, 7, 5) and found.pixels.shape == (3, 4)
    assert (found.on((7, 9)) == mask).all()
    assert not Cutout.of(np.zeros((7, 9), bool)).on((7, 9)).any()


def test_mask_iou_is_that_of_sets_of_pixels() -> None:
    rng = np.random.default_rng(0)
    masks = []
    for _ in range(12):
        mask = np.zeros((14, 17), bool)
        top, left, height, width = rng.integers([8, 9, 7, 9])
        mask[top : top + height, left : left + width] = rng.random((height, width)) < 0.7
        masks.append(mask)
    assert any(not mask.any() for mask in masks)
    table = mask_iou([Cutout.of(mask) for mask in masks[:7]], [Cutout.of(m) for m in masks[5:]])
    for row, one in enumerate(masks[:7]):
        for column, other in enumerate(masks[5:]):
            both, either = int((one & other).sum()), int((one | other).sum())
            assert table[row, column] == (both / either if either else 0)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 10_000))
def test_runs_are_read_back(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.4
    assert (from_runs(json.loads(json.dumps(to_runs(mask))), (height, width)) == mask).all()


def test_runs_go_down_the_columns_and_begin_outside() -> None:
    mask = np.array([[1, 0, 0], [1, 1, 0]], bool)
    assert to_runs(mask) == [0, 2, 1, 1, 2]
    assert to_runs(~mask) == [2, 1, 1, 2]
    assert to_runs(np.zeros((2, 2), bool)) == [4]


@pytest.mark.parametrize("runs", [[3], [5], [-1, 5], [[4]], ["a"]], ids=str)
def test_runs_of_another_size_are_refused(runs: Any) -> None:
    with pytest.raises(ValueError):
        from_runs(runs, (2, 2))


def answer(*things: tuple[int, float, tuple[float, ...], float]) -> dict[str, np.ndarray]:
    """Outputs of one image: class, logit, box and the logit of every pixel of its mask."""
    logits = np.full((1, len(things), 3), -9, np.float32)
    for query, (index, logit, *_) in enumerate(things):
        logits[0, query, index] = logit
    boxes = np.array([[box for *_, box, _ in things]], np.float32)
    masks = np.array([[np.full((5, 5), fill) for *_, fill in things]], np.float32)
    return {"logits": logits, "boxes": boxes, "masks": masks}


def found_in(outputs: dict[str, np.ndarray], size: tuple[int, int], **changes: Any) -> Instances:
    return find(outputs, [size], NAMES, [changes.pop("region", WHOLE)], **changes)[0]


def test_queries_become_instances_the_surest_first() -> None:
    outputs = answer(
        (0, 0.1, (0, 0, 0.5, 0.5), 1), (2, 3.0, (0.5, 0, 1.5, 1), 1), (1, -0.1, WHOLE, 1)
    )
    found = found_in(outputs, (40, 80))
    assert found.labels == ("owl", "cat") and found.indices.tolist() == [2, 0]
    assert found.scores.tolist() == pytest.approx([1 / (1 + np.exp(-3)), 1 / (1 + np.exp(-0.1))])
    assert found.places.tolist() == [[40, 0, 120, 40], [0, 0, 40, 20]]
    assert found.boxes.tolist() == [[40, 0, 80, 40], [0, 0, 40, 20]]  # within the frame
    assert [mask.bounds for mask in found.masks] == [(40, 0, 80, 40), (0, 0, 40, 20)]
    assert [entry.label for entry in found.entries()] == ["owl", "cat"]
    assert found.entries()[0].box == (40, 0, 80, 40)
    assert len(found_in(outputs, (40, 80), threshold=0.4)) == 3
    assert len(found_in(outputs, (40, 80), threshold=0.6)) == 1
    assert TASK.decisions({name: value[0] for name, value in outputs.items()}).tolist() == [0, 2, 3]


def test_the_picture_numbers_instances_with_the_surest_in_front() -> None:
    found = found_in(answer((0, 1, (0, 0, 0.75, 1), 1), (1, 2, (0.5, 0, 1, 1), 1)), (2, 8))
    assert found.picture().tolist() == [[2, 2, 2, 2, 1, 1, 1, 1]] * 2
    assert found.picture().dtype == np.uint8
    empty = found_in(answer((0, -1, WHOLE, 1)), (2, 3))
    assert len(empty) == 0 and not empty.picture().any() and empty.entries() == []
    many = found_in(answer(*[(0, 1, WHOLE, -1)] * 300), (2, 2))
    assert many.picture().dtype == np.uint16


def test_json_holds_masks_that_read_back() -> None:
    found = found_in(answer((0, 1, (0.1, 0.1, 0.8, 0.9), 1)), (11, 13))
    (record,) = json.loads(json.dumps(found.as_json()))["instances"]
    assert record["label"] == "cat" and record["mask"]["size"] == [11, 13]
    assert record["box"] == pytest.approx([1.3, 1.1, 10.4, 9.9])
    mask = from_runs(record["mask"]["counts"], (11, 13))
    assert (mask == inside(found.places[0], (11, 13))).all()


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"resize": "letterbox", "size": 32}, (40, 80)),
        ({"resize": "letterbox", "size": [24, 48]}, (96, 48)),
        ({"resize": "exact", "size": 32}, (50, 70)),
        ({"resize": "shortest_edge", "size": 40, "crop": 32}, (80, 80)),
    ],
    ids=["wide", "tall", "exact", "crop"],
)
def test_masks_lie_where_the_frame_shows_them(
    settings: dict[str, Any], size: tuple[int, int]
) -> None:
    """A frame's white part, found in the model's image, is pasted onto that part of the frame."""
    frame = np.zeros((*size, 3), np.uint8)
    wanted = np.zeros(size, bool)
    wanted[size[0] // 2 : size[0] * 3 // 4, size[1] // 4 : size[1] * 3 // 4] = True
    frame[wanted] = 255
    batch = Preprocess(**settings)([frame])
    bright = batch.inputs["pixel_values"][0, 0] > 0
    box = np.array(Cutout.of(bright).bounds, np.float32) / np.tile(bright.shape[::-1], 2)
    outputs = answer((1, 3, tuple(box.tolist()), 1))
    (found,) = TASK.predict(outputs, batch, NAMES, 0.5)
    wrong = found.masks[0].on(size) != wanted  # type: ignore[attr-defined]
    # An edge of the white part may move by a pixel of the model's image.
    step = max(size) / min(bright.shape) + 1
    assert wrong.sum() <= step * (size[0] + size[1])
    assert found.masks[0].on(size)[wanted].mean() > 0.8  # type: ignore[attr-defined]


@pytest.mark.parametrize("output", ["logits", "boxes", "masks"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_not_found(output: str, value: float) -> None:
    outputs = answer((0, 2, WHOLE, 1), (1, 3, WHOLE, 1))
    outputs[output][0, 1].flat[0] = value
    found = TASK.comparable(Answer(outputs, (4, 4), [WHOLE]), NAMES)
    assert found.labels == ("cat",)
    assert [mask.pixels.all() for mask in found.masks] == [True]


def test_weak_instances_are_compared_too() -> None:
    found = TASK.comparable(Answer(answer((0, -2.5, WHOLE, 1)), (4, 4), [WHOLE]), NAMES)
    assert len(found) == 1  # of score 0.08


def test_labels_must_be_one_per_class() -> None:
    with pytest.raises(EngineError, match=r"^found 2 labels for 3 classes"):
        find(answer((0, 1, WHOLE, 1)), [(4, 4)], ("a", "b"), [WHOLE])


def test_truths_are_read_from_run_lengths(tmp_path: Path) -> None:
    assert read_instances(tmp_path) == {}
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:6] = True
    item = {"label": 2, "size": [4, 6], "counts": to_runs(mask)}
    records = [{"file": "a.png", "instances": [item]}, {"file": "b.png", "instances": []}]
    (tmp_path / "instances.json").write_text(json.dumps(records))
    found = read_instances(tmp_path)
    assert found["a.png"].boxes.tolist() == [[2, 1, 6, 3]]
    assert found["a.png"].indices.tolist() == [2] and found["a.png"].scores.tolist() == [1]
    assert (found["a.png"].masks[0].on((4, 6)) == mask).all()
    assert found["b.png"].boxes.shape == (0, 4)


@pytest.mark.parametrize(
    "change",
    [{"counts": [3]}, {"size": [4]}, {"label": "owl"}, {"label": None}],
    ids=["length", "size", "name", "none"],
)
def test_truths_of_another_form_are_named(tmp_path: Path, change: dict[str, Any]) -> None:
    item = {"label": 0, "size": [2, 2], "counts": [4]} | change
    file = tmp_path / "instances.json"
    file.write_text(json.dumps([{"file": "a.png", "instances": [item]}]))
    with pytest.raises(
        EngineError, match=r"does not hold instances .*expected a list of"
    ) as caught:
        read_instances(tmp_path)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
