from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import EngineError
from runtime.golden import Golden, check, load_golden, save_golden
from tests.runtime.bundles import PLAIN, solid

FRAMES = [solid(255, 0, 0), solid(0, 255, 0, 5, 9)]
ANSWERS = [{"logits": np.float32([1, 0, 0])}, {"logits": np.float32([0, 1, 0])}]
GOLDEN = Golden(FRAMES, ANSWERS)


def mean_colour(inputs: Any) -> dict[str, Any]:
    return {"logits": inputs["pixel_values"].mean(axis=(2, 3))}


def test_round_trip_and_reproducible(tmp_path: Path) -> None:
    save_golden(tmp_path / "a.npz", GOLDEN)
    save_golden(tmp_path / "b.npz", GOLDEN)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    loaded = load_golden(tmp_path / "a.npz")
    for found, expected in zip(loaded.items, FRAMES, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert [list(outputs) for outputs in loaded.outputs] == [["logits"], ["logits"]]
    np.testing.assert_array_equal(loaded.outputs[1]["logits"], [0, 1, 0])


def test_a_right_engine_passes() -> None:
    # Means of equal values differ from 1 by float32 rounding only.
    assert check(mean_colour, PLAIN, GOLDEN, 0.9999) == pytest.approx(1.0, abs=1e-6)


def test_cosine_by_hand() -> None:
    # cos between (1, 1, 0) and (1, 0, 0) is 1/sqrt(2), the worst of the two probes.
    def wrong(inputs: Any) -> dict[str, Any]:
        return {"logits": np.maximum(mean_colour(inputs)["logits"], np.float32([[0, 1, 0]]))}

    assert check(wrong, PLAIN, GOLDEN, 0.7) == pytest.approx(0.5**0.5, abs=1e-6)
    with pytest.raises(EngineError, match=r"probe 0 gives cosine 0\.70711 in 'logits', .* 0\.8"):
        check(wrong, PLAIN, GOLDEN, 0.8)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        pytest.param({"logits": np.full((1, 3), np.nan)}, r"cosine -1\.0", id="NaN"),
        pytest.param({"logits": np.full((1, 3), np.inf)}, r"cosine -1\.0", id="infinite"),
        pytest.param({"logits": np.zeros((1, 3))}, r"cosine 0\.0", id="zeros"),
        pytest.param({"logits": np.zeros((1, 4))}, r"is \(1, 4\), its golden", id="shape"),
        pytest.param({"scores": np.zeros((1, 3))}, "is absent, its golden", id="name"),
    ],
)
def test_a_wrong_engine_fails(outputs: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        check(lambda _: outputs, PLAIN, GOLDEN, 0.5)


@pytest.mark.parametrize(
    "golden",
    [
        pytest.param(Golden([], []), id="none"),
        pytest.param(Golden(FRAMES, ANSWERS[:1]), id="unequal"),
        pytest.param(Golden(FRAMES[:1], [{"image": np.zeros(3, np.float32)}]), id="name"),
        pytest.param(Golden(FRAMES[:1], [{"x": np.float32([np.nan])}]), id="NaN"),
    ],
)
def test_probes_that_prove_nothing_are_not_written(golden: Golden, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"give one set|cannot be a golden answer"):
        save_golden(tmp_path / "a.npz", golden)
    assert not list(tmp_path.iterdir())


def test_more_probes_than_can_be_loaded_are_not_written(tmp_path: Path) -> None:
    frame = np.broadcast_to(np.uint8(0), (20_000, 18_000, 3))  # takes no memory
    with pytest.raises(ValueError, match="the probes have 1080000012 bytes, of at most 1073741824"):
        save_golden(tmp_path / "a.npz", Golden([frame], ANSWERS[:1]))
    assert not list(tmp_path.iterdir())


IMAGE, LOGITS = solid(0, 0, 0), np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        pytest.param({"image_000": np.array([print], dtype=object)}, "is no array", id="pickle"),
        pytest.param({"image_000": IMAGE, "logits_000": np.zeros(3)}, "no array", id="float64"),
        pytest.param({"logits_000": LOGITS}, "0 items, and outputs of 1", id="no frame"),
        pytest.param(
            {"image_000": IMAGE, "image_001": IMAGE, "logits_000": LOGITS},
            "2 items, and outputs of 1",
            id="a frame without outputs",
        ),
        pytest.param(
            {"image_000": IMAGE, "image_001": IMAGE, "logits_000": LOGITS, "boxes_001": LOGITS},
            "probes with different outputs",
            id="other outputs",
        ),
        pytest.param(
            {"image_000": LOGITS, "logits_000": LOGITS}, "image is float32", id="float frame"
        ),
        pytest.param(
            {"image_000": IMAGE[..., :2], "logits_000": LOGITS}, r"\(8, 8, 2\)", id="two channels"
        ),
        pytest.param({"image_000": IMAGE[:0], "logits_000": LOGITS}, r"\(0, 8, 3\)", id="no rows"),
        # Any answer has no cosine less than that with NaN, or with nothing.
        pytest.param(
            {"image_000": IMAGE, "logits_000": LOGITS * np.nan}, "expected finite", id="NaN"
        ),
        pytest.param({"image_000": IMAGE, "logits_000": LOGITS[:0]}, "finite", id="no answer"),
        pytest.param({"image_000": IMAGE, "logits_000": IMAGE}, "finite float32", id="uint8"),
    ],
)
def test_files_that_hold_no_probes(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(EngineError, match=f"holds no probes .*{message}"):
        load_golden(tmp_path / "a.npz")


def test_a_frame_that_cannot_be_resized() -> None:
    strip = np.zeros((1, 1 << 20, 3), np.uint8)
    golden = Golden([strip], [{"logits": np.float32([1, 0, 0])}])
    shortest = dataclasses.replace(PLAIN, resize="shortest_edge")
    with pytest.raises(EngineError, match="golden probe 0 is nothing for this model"):
        check(mean_colour, dataclasses.replace(shortest, size=8192), golden, 0.5)
