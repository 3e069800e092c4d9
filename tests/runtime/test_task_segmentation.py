"""Class maps against PyTorch's interpolation, and where they lie in the frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from runtime import EngineError, Preprocess
from runtime.tasks import Answer, find_task
from runtime.tasks.class_maps import class_map
from runtime.tasks.segmentation import Segmentation, read_masks, segment

torch = pytest.importorskip("torch")

WHOLE = (0.0, 0.0, 1.0, 1.0)
TASK = find_task("segmentation")


def enlarged(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """PyTorch's own enlargement, (classes, H, W)."""
    found: np.ndarray = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None], size, mode="bilinear", align_corners=False
    )[0].numpy()
    return found


def assert_greatest(found: np.ndarray, logits: np.ndarray) -> None:
    """Every chosen class has the greatest of (classes, H, W) logits, up to their rounding."""
    chosen = np.take_along_axis(logits, found[None].astype(np.int64), 0)[0]
    # Two float32 interpolations of values up to 10 in another order: three roundings of 1e-6.
    assert (logits.max(axis=0) - chosen).max() <= 3e-6


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 7), st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40),
    st.integers(0, 10_000),
)  # fmt: skip
def test_it_is_the_argmax_of_pytorchs_interpolation(
    classes: int, height: int, width: int, rows: int, columns: int, seed: int
) -> None:
    logits = np.random.default_rng(seed).normal(size=(classes, height, width)).astype(np.float32)
    found = class_map(logits, (rows, columns), WHOLE)
    assert found.shape == (rows, columns) and found.dtype == np.uint8
    assert_greatest(found, enlarged(logits, (rows, columns)))


def test_smooth_maps_leave_classes_out_and_none_that_wins() -> None:
    # Regions of one class, where most classes are not even looked at.
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(30, 5, 6)).astype(np.float32) * 3
    logits = enlarged(coarse, (40, 48))
    found = class_map(logits, (300, 411), WHOLE)
    assert_greatest(found, enlarged(logits, (300, 411)))
    assert len(np.unique(found)) > 10


def test_a_class_second_everywhere_may_win_between_the_points() -> None:
    # Two points: 0 wins at one, 1 at the other, and 2 is a little less at both; halfway it has
    # 0.9 where the others have 0.5.
    logits = np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[0.9, 0.9]]], np.float32)
    assert class_map(logits, (1, 8), WHOLE).tolist() == [[0, 0, 2, 2, 2, 2, 1, 1]]


def test_many_classes_take_two_bytes() -> None:
    logits = np.zeros((300, 1, 1), np.float32)
    logits[299] = 1
    found = class_map(logits, (2, 2), WHOLE)
    assert found.dtype == np.uint16 and (found == 299).all()


def test_float16_logits_are_compared_in_float32() -> None:
    logits = np.random.default_rng(1).normal(size=(4, 3, 3)).astype(np.float16)
    wide = enlarged(logits.astype(np.float32), (17, 19))
    assert_greatest(class_map(logits, (17, 19), WHOLE), wide)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_disturb_their_surroundings_only(bad: float) -> None:
    logits = np.zeros((3, 8, 8), np.float32)
    logits[1] = 1
    logits[0, 2, 2] = bad
    found = class_map(logits, (8, 8), WHOLE)
    far = np.ones((8, 8), bool)
    far[1:4, 1:4] = False
    assert (found[far] == 1).all()


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"resize": "letterbox", "size": 32}, (40, 80)),
        ({"resize": "letterbox", "size": 32}, (96, 48)),
        ({"resize": "exact", "size": 32}, (50, 70)),
        ({"resize": "shortest_edge", "size": 40, "crop": 32}, (40, 40)),
    ],
    ids=["wide", "tall", "exact", "crop"],
)
def test_a_class_lies_where_the_frame_shows_it(
    settings: dict[str, Any], size: tuple[int, int]
) -> None:
    """A frame white on its right third: logits that are the image's own brightness find it."""
    frame = np.zeros((*size, 3), np.uint8)
    edge = size[1] * 2 // 3
    frame[:, edge:] = 255
    batch = Preprocess(**settings)([frame])
    bright = batch.inputs["pixel_values"][:, :1]  # -1 or 1
    (found,) = segment(
        np.concatenate([-bright, bright], 1), batch.frame_sizes, ("dark", "bright"), batch.regions
    )
    assert found.class_map.shape == size
    wrong = found.class_map != (np.arange(size[1]) >= edge)
    # The edge may move by the half of a pixel of the image that resizing blurred.
    near = abs(np.arange(size[1]) + 0.5 - edge) <= max(size) / 32
    assert not wrong[:, ~near].any()


def test_what_a_crop_left_out_is_taken_from_its_border() -> None:
    # The map covers the middle half of the frame's width.
    logits = np.array([[[1.0, 0.0]], [[0.0, 1.0]]], np.float32)
    found = class_map(logits, (1, 8), (-0.5, 0.0, 1.5, 1.0))
    assert found.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]


def test_entries_are_classes_by_their_share() -> None:
    found = Segmentation(np.array([[2, 2, 0], [2, 0, 2]], np.uint8), ("sky", "sea", "sand"))
    assert found.entries() == [("sand", 4 / 6, None), ("sky", 2 / 6, None)]
    assert found.shares.tolist() == [2 / 6, 0, 4 / 6]


def test_json_holds_the_map_in_runs() -> None:
    classes = np.random.default_rng(0).integers(0, 3, (5, 7), dtype=np.uint8)
    record = json.loads(json.dumps(Segmentation(classes, ("a", "b", "c")).as_json()))
    flat = [index for index, length in record["runs"] for _ in range(length)]
    assert (record["height"], record["width"]) == (5, 7)
    assert np.reshape(flat, (5, 7)).tolist() == classes.tolist()
    # No run could be one with its neighbour.
    assert all(a[0] != b[0] for a, b in zip(record["runs"], record["runs"][1:], strict=False))
    shares = {entry["index"]: entry["share"] for entry in record["classes"]}
    assert shares == {i: float((classes == i).mean()) for i in range(3)}


def test_labels_must_be_one_per_class() -> None:
    with pytest.raises(EngineError, match=r"^found 2 labels for 3 classes"):
        segment(np.zeros((1, 3, 2, 2), np.float32), [(4, 4)], ("a", "b"), [WHOLE])


def test_the_task_compares_class_maps_and_marks_broken_answers() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 4, 4)).astype(np.float32)
    answer = Answer({"logits": logits[None]}, (9, 11), [WHOLE])
    compared = TASK.comparable(answer, ("a", "b", "c"))
    np.testing.assert_array_equal(compared, class_map(logits, (9, 11), WHOLE))
    assert TASK.decisions({"logits": logits}).tolist() == logits.argmax(0).ravel().tolist()
    logits[1, 2, 3] = np.nan
    assert (TASK.comparable(answer, ("a", "b", "c")) == 255).all()


def test_masks_are_found_by_the_images_name(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    grey = np.array([[0, 1], [255, 2]], np.uint8)
    for name in ("a.jpg", "b.png", "c.png", "no_mask.png"):
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    Image.fromarray(grey).save(tmp_path / "masks" / "a.png")
    palette = Image.fromarray(grey).convert("P")
    palette.putdata(grey.ravel().tolist())
    palette.save(tmp_path / "masks" / "b.png")
    wide = np.array([[300, 1], [65535, 2]], np.uint16)
    Image.fromarray(wide).save(tmp_path / "masks" / "c.png")
    found = read_masks(tmp_path)
    assert sorted(found) == ["a.jpg", "b.png", "c.png"]
    assert found["a.jpg"].tolist() == found["b.png"].tolist() == grey.tolist()
    assert found["c.png"].dtype == np.uint16 and found["c.png"].tolist() == wide.tolist()


def test_a_folder_without_masks_has_no_truths(tmp_path: Path) -> None:
    assert read_masks(tmp_path) == {}


@pytest.mark.parametrize("kind", ["colours", "damaged"])
def test_a_mask_that_is_none_is_named(tmp_path: Path, kind: str) -> None:
    (tmp_path / "masks").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    mask = tmp_path / "masks" / "a.png"
    Image.new("RGB", (2, 2)).save(mask)
    if kind == "damaged":
        mask.write_bytes(mask.read_bytes()[:20])
    wanted = {"colours": "holds RGB pixels, expected class indices", "damaged": "not a readable"}
    with pytest.raises(EngineError, match=wanted[kind]) as caught:
        read_masks(tmp_path)
    assert str(mask) in str(caught.value) and "\n" not in str(caught.value)
