"""Restoration: from the tiles of a model to images of any size, through a whole engine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runtime import Engine, EngineError, Pipeline, Preprocess
from runtime.batch import Batch
from runtime.sources import Source
from runtime.tasks import find_task
from runtime.tasks.restoration import Restoration, read_clean
from runtime.tasks.task import answers_of
from tests.runtime.bundles import BACKENDS, PLAIN
from tests.runtime.tiled_bundle import TILED, negative, textured, write_tiled_bundle

TASK = find_task("restoration")
SIZES = [(8, 8), (1, 1), (5, 21), (40, 33), (8, 9)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_engine_restores_frames_of_any_size(backend: str, tmp_path: Path) -> None:
    pytest.importorskip(backend)
    frames = [textured(*size, seed=index) for index, size in enumerate(SIZES)]
    with Engine.load(write_tiled_bundle(tmp_path / "b", backend), max_batch=4) as engine:
        found = engine(frames)
        grey = engine([frames[3][..., 0]], pixels="GREY")
    for frame, prediction in zip(frames, found, strict=True):
        assert isinstance(prediction, Restoration)
        np.testing.assert_array_equal(prediction.image, negative(frame))
    expected = negative(frames[3][..., :1].repeat(3, axis=2))
    assert isinstance(grey[0], Restoration)
    np.testing.assert_array_equal(grey[0].image, expected)


def test_a_pipeline_restores_frames_of_any_size(tmp_path: Path) -> None:
    frames = [textured(*size, seed=index) for index, size in enumerate(SIZES)]
    source = Source("stills", lambda: iter(frames), live=False, reconnect=False)
    with (
        Engine.load(write_tiled_bundle(tmp_path / "b"), max_batch=2) as engine,
        Pipeline(engine, [source]) as pipeline,
    ):
        found = [result.prediction for result in pipeline]
    for frame, prediction in zip(frames, found, strict=True):
        assert isinstance(prediction, Restoration)
        np.testing.assert_array_equal(prediction.image, negative(frame))


def test_no_inference_takes_more_tiles_than_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Engine.load(write_tiled_bundle(tmp_path / "b"), max_batch=4) as engine:
        sizes: list[int] = []
        run = engine.session.run

        def counted(inputs: Any) -> Any:
            sizes.append(len(inputs["pixel_values"]))
            return run(inputs)

        monkeypatch.setattr(engine.session, "run", counted)
        engine([textured(8, 20), textured(8, 8), textured(32, 8)])
    # Three, one and five tiles; frames of all sizes share batches, since all tiles are alike.
    assert sizes == [4, 4, 1]


def test_a_prediction_is_a_picture() -> None:
    image = textured(6, 10)
    found = Restoration(image)
    assert found.as_json() == {"height": 6, "width": 10}
    assert found.picture() is image


def test_values_beyond_black_and_white_are_cut_off_and_others_rounded() -> None:
    batch = TILED.preprocess([textured(8, 8)])
    restored = np.zeros((1, 3, 8, 8), np.float32)
    restored[:, 0], restored[:, 1], restored[:, 2] = -0.5, 1.5, 127.6 / 255
    (found,) = TASK.predict({"restored": restored}, batch, (), 0.5)
    assert isinstance(found, Restoration)
    assert (found.image == (0, 255, 128)).all()


def test_answers_of_a_batch_go_to_their_frames() -> None:
    outputs = {"restored": np.arange(4.0)}
    regions = [(float(n), 0.0, 1.0, 1.0) for n in range(4)]
    first, second = answers_of(outputs, Batch({}, [(8, 20), (8, 8)], regions, [3, 1]))
    assert first.outputs["restored"].tolist() == [0, 1, 2] and first.regions == regions[:3]
    assert second.outputs["restored"].tolist() == [3] and second.frame_size == (8, 8)


def test_decisions_are_the_brightnesses_of_blocks() -> None:
    restored = np.zeros((3, 16, 16), np.float32)
    restored[0, :2, :2] = [[0.0, 1.0], [0.5, 0.5]]  # half of 15, rounded up
    restored[1, 2:4, :2] = 7  # white at most
    restored[2, :2, 14:] = np.nan
    found = TASK.decisions({"restored": restored}).reshape(3, 8, 8)
    assert found[0, 0, 0] == 8 and found[1, 1, 0] == 15
    assert np.count_nonzero(found) == 2


def test_clean_images_are_found_by_name(tmp_path: Path) -> None:
    assert read_clean(tmp_path) == {}
    (tmp_path / "clean").mkdir()
    for name in ("a.jpg", "b.png", "unpaired.png"):
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    clean = {name: textured(4, 4, seed) for seed, name in enumerate(("a", "b", "nobody"))}
    for name, image in clean.items():
        Image.fromarray(image).save(tmp_path / "clean" / f"{name}.png")
    found = read_clean(tmp_path)
    assert sorted(found) == ["a.jpg", "b.png"]
    np.testing.assert_array_equal(found["a.jpg"], clean["a"])
    (tmp_path / "clean" / "b.png").write_bytes(b"no image")
    with pytest.raises(EngineError, match=r"b\.png is not a readable image"):
        read_clean(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"resize": "tiles", "overlap": 5}, r"overlap is 5 .* size 8; give 0 to half the size"),
        ({"resize": "tiles", "overlap": -1}, "overlap is -1"),
        ({"overlap": 2}, "overlap is 2 with resize 'exact'"),
        ({"resize": "tiles", "crop": 8}, "resize 'tiles' with crop or pad"),
        ({"resize": "tiles", "pad": True}, "resize 'tiles' with crop or pad"),
    ],
    ids=["large", "negative", "exact", "crop", "pad"],
)
def test_tiles_of_a_kind_that_makes_no_sense_are_refused(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PLAIN, **fields)


def test_an_overlap_is_an_integer_and_travels_with_tiles_alone() -> None:
    with pytest.raises(TypeError, match=r"overlap is 2\.0; give an integer"):
        dataclasses.replace(TILED.preprocess, overlap=2.0)
    record = TILED.preprocess.to_dict()
    assert record["overlap"] == 2 and Preprocess.from_dict(record) == TILED.preprocess
    assert "overlap" not in PLAIN.to_dict()
