"""Keypoints from heatmaps: closed forms, the way back to the frame, and what a model looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.batch import Batch
from runtime.errors import EngineError
from runtime.preprocess import Preprocess
from runtime.tasks import Answer, find_task
from runtime.tasks.keypoints import STRIDE, Keypoints, read_points
from runtime.tasks.peaks import peaks

HEIGHT, WIDTH = 24, 18
NAMES = ("head", "hand", "foot")
WHOLE = (0.0, 0.0, 1.0, 1.0)


def gaussian(
    x: float, y: float, sigma: float = 1.5, ratio: float = 1.0, turn: float = 0.0
) -> np.ndarray[Any, Any]:
    """A heatmap (24, 18) whose summit is at (x, y) cells; turned, with another width across."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    along = np.cos(turn) * (columns - x) + np.sin(turn) * (rows - y)
    across = np.cos(turn) * (rows - y) - np.sin(turn) * (columns - x)
    return np.exp(-0.5 * (along**2 + (across / ratio) ** 2) / sigma**2).astype(np.float32)


def predicted(
    heatmaps: np.ndarray[Any, Any], frame: tuple[int, int], region: Any = WHOLE, **more: Any
) -> Keypoints:
    batch = Batch({}, [frame], [region], [1])
    outputs = {"heatmaps": heatmaps[None], **more}
    (found,) = find_task("keypoints").predict(outputs, batch, NAMES[: len(heatmaps)], 0.5)
    assert isinstance(found, Keypoints)
    return found


@pytest.mark.parametrize(
    ("x", "y"),
    [(9.0, 12.0), (9.3, 12.4), (4.5, 7.5), (0.2, 11.7), (16.9, 22.6), (0.0, 0.0), (17.0, 0.4)],
    ids=["centre", "off-centre", "between-cells", "left-edge", "corner", "at-corner", "top-right"],
)
@pytest.mark.parametrize(
    ("sigma", "ratio", "turn"), [(1.0, 1.0, 0.0), (2.0, 1.0, 0.0), (1.3, 1.7, 0.6)],
    ids=["narrow", "wide", "turned"],
)  # fmt: skip
def test_the_summit_of_a_gaussian_is_found_exactly(
    x: float, y: float, sigma: float, ratio: float, turn: float
) -> None:
    places, scores = peaks(0.8 * gaussian(x, y, sigma, ratio, turn)[None])
    # The parabola is exact; heights are float32, and a millionth steadies the equations.
    assert places[0] == pytest.approx([x, y], abs=1e-4)
    nearest = gaussian(x, y, sigma, ratio, turn).max()
    assert scores[0] == pytest.approx(0.8 * nearest)


def test_noise_moves_a_summit_less_than_a_tenth_of_a_cell() -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform(2, 15, (200, 2))
    maps = np.stack([gaussian(x, y) for x, y in places])
    noisy = maps + 0.01 * rng.standard_normal(maps.shape).astype(np.float32)
    moved = np.linalg.norm(peaks(noisy)[0] - places, axis=1)
    # A hundredth of the height, on 25 cells of which about ten count, is worth a hundredth of a
    # cell or two; whole cells, without the parabola, would be off by 0.38 on average.
    assert np.quantile(moved, 0.97) < 0.1


def test_a_flat_map_has_its_summit_in_a_cell() -> None:
    places, scores = peaks(np.zeros((1, HEIGHT, WIDTH), np.float32))
    assert places[0].tolist() == [0, 0]
    assert scores[0] == 0


def test_a_point_is_mapped_to_its_pixel() -> None:
    # Cell c is centred on pixel 4c of the image, whose own centre lies at 4c + 0.5.
    found = predicted(gaussian(9, 12)[None], (HEIGHT * STRIDE, WIDTH * STRIDE))
    assert found.points[0] == pytest.approx([4 * 9 + 0.5, 4 * 12 + 0.5], abs=1e-3)
    twice = predicted(gaussian(9, 12)[None], (2 * HEIGHT * STRIDE, 2 * WIDTH * STRIDE))
    assert twice.points[0] == pytest.approx([2 * 36.5, 2 * 48.5], abs=2e-3)


def test_a_letterboxed_point_is_found_in_the_frame() -> None:
    # What preprocessing does to a bright dot, the task undoes.
    preprocess = Preprocess(resize="letterbox", size=96, mean=(0, 0, 0), std=(1, 1, 1))
    frame = np.zeros((120, 240, 3), np.uint8)
    frame[60:65, 180:185] = 255
    batch = preprocess([frame])
    seen = batch.inputs["pixel_values"][0, 0]
    row, column = np.argwhere(seen == seen.max()).mean(axis=0) / STRIDE
    rows, columns = np.mgrid[:24, :24]
    heatmap = np.exp(-0.5 * ((rows - row) ** 2 + (columns - column) ** 2) / 2)
    (found,) = find_task("keypoints").predict(
        {"heatmaps": heatmap[None, None]}, batch, ("dot",), 0.5
    )
    assert isinstance(found, Keypoints)
    # The dot's centre; the brightest of its two shrunken pixels are known to half a pixel, of
    # which each is 2.5 of the frame.
    assert found.points[0] == pytest.approx([182.5, 62.5], abs=1.5)


def test_points_stay_within_the_frame() -> None:
    region = (0.0, 0.25, 1.0, 0.75)
    found = predicted(np.stack([gaussian(9, 1), gaussian(17, 23)]), (100, 200), region)
    assert found.points.min() >= 0
    assert (found.points <= [200, 100]).all()


def test_weak_points_are_kept_but_not_listed() -> None:
    maps = np.stack([0.9 * gaussian(4, 5), 0.2 * gaussian(9, 9), 1.3 * gaussian(3, 3)])
    found = predicted(maps, (96, 72))
    assert found.scores == pytest.approx([0.9, 0.2, 1.0])
    assert found.found.tolist() == [True, False, True]
    assert [entry.label for entry in found.entries()] == ["head", "foot"]
    box = found.entries()[0].box
    assert box is not None
    # 1 % of the frame's longer side around the point.
    assert box == pytest.approx([16.5 - 0.96, 20.5 - 0.96, 16.5 + 0.96, 20.5 + 0.96], abs=1e-3)
    assert [point["name"] for point in found.as_json()["keypoints"]] == list(NAMES)
    assert json.loads(json.dumps(found.as_json())) == found.as_json()


def test_a_name_is_needed_for_every_heatmap() -> None:
    batch = Batch({}, [(96, 72)], [WHOLE], [1])
    with pytest.raises(EngineError, match="found 2 labels for 3"):
        find_task("keypoints").predict(
            {"heatmaps": np.zeros((1, 3, HEIGHT, WIDTH))}, batch, ("a", "b"), 0.5
        )


def test_what_is_not_finite_has_no_score() -> None:
    maps = np.stack([gaussian(4, 5), gaussian(4, 5)])
    maps[1, 0, 0] = np.nan
    found = predicted(maps, (96, 72))
    assert np.isnan(found.scores).tolist() == [False, True]
    assert np.isfinite(found.points).all()
    assert len(found.entries()) == 1


def test_attention_is_a_softmax_over_the_tokens() -> None:
    rng = np.random.default_rng(0)
    heads, size, tokens = 2, 4, 12 * 9
    queries, keys = rng.standard_normal((2, 1, heads, tokens, size)).astype(np.float32)
    found = predicted(gaussian(7.0, 21.0)[None], (96, 72), queries=queries, keys=keys)
    # Cells are half a token: row 21 and column 7 lie in token row 10, column 3.
    token = 10 * 9 + 3
    expected = np.zeros(tokens)
    for head in range(heads):
        weights = np.exp(keys[0, head] @ queries[0, head, token] / 2)  # the root of size 4
        expected += weights / weights.sum() / heads
    attention = found.attention(0)
    assert attention.dtype == np.float32
    assert attention == pytest.approx(expected.reshape(12, 9), rel=1e-5)
    assert attention.sum() == pytest.approx(1, abs=1e-5)


def test_a_model_without_queries_has_no_attention() -> None:
    with pytest.raises(ValueError, match="gives no attention"):
        predicted(gaussian(7, 9)[None], (96, 72)).attention(0)


def test_decisions_are_the_highest_cells() -> None:
    maps = np.stack([gaussian(4, 5), gaussian(9, 9)])
    assert find_task("keypoints").decisions({"heatmaps": maps}).tolist() == [5 * 18 + 4, 9 * 18 + 9]


def test_what_is_compared_are_points_in_the_frame() -> None:
    answer = Answer({"heatmaps": gaussian(9, 12)[None, None]}, (192, 144), [WHOLE])
    pose = find_task("keypoints").comparable(answer, ("head",))
    assert pose.points[0] == pytest.approx([73, 97], abs=2e-3)
    assert pose.frame_size == (192, 144)


def test_true_points_are_read(tmp_path: Path) -> None:
    assert read_points(tmp_path) == {}
    (tmp_path / "keypoints.json").write_text('[{"file": "a.png", "keypoints": [[1, 2.5], null]}]')
    points = read_points(tmp_path)["a.png"]
    np.testing.assert_array_equal(points, np.array([[1, 2.5], [np.nan, np.nan]], np.float32))


@pytest.mark.parametrize(
    "text",
    ["{", '{"images": []}', "[{}]", "3", '[{"file": "a", "keypoints": [[1]]}]', '[{"file": "a"}]'],
    ids=str,
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "keypoints.json").write_text(text)
    with pytest.raises(EngineError, match="expected a list of") as refused:
        read_points(tmp_path)
    assert "\n" not in str(refused.value)
