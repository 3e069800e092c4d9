from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import Engine, EngineError
from tests.runtime.bundles import (
    BACKENDS,
    CLASSIFIER,
    DETECTOR,
    MASKED,
    MEAN_COLOUR,
    solid,
    write_bundle,
)

RED, GREEN, BLUE = solid(255, 0, 0), solid(0, 255, 0, 30, 9), solid(0, 0, 255, 1, 1)


@pytest.fixture
def engine(bundle: Path) -> Any:
    with Engine.load(bundle) as engine:
        yield engine


@pytest.fixture
def detecting(detector: Path) -> Any:
    with Engine.load(detector) as engine:
        yield engine


def best(engine: Engine, frames: Any) -> list[str]:
    return [prediction.top[0].label for prediction in engine(frames)]


def test_classification(engine: Engine) -> None:
    assert engine.labels == ("red", "green", "blue")
    assert best(engine, [RED, GREEN, BLUE, RED]) == ["red", "green", "blue", "red"]
    # softmax(1, 0, 0) by hand; float32.
    assert engine([RED])[0].top[0].probability == pytest.approx(np.e / (np.e + 2), abs=1e-6)


@pytest.mark.parametrize("threshold", [-0.1, 7, float("nan")], ids=str)
def test_a_threshold_that_is_no_score_is_refused(engine: Engine, threshold: float) -> None:
    with pytest.raises(ValueError, match=r"threshold is .*; give a score in 0\.\.1"):
        engine([RED], threshold=threshold)


def test_no_frames(engine: Engine) -> None:
    assert engine([]) == []


def test_more_frames_than_one_batch_stay_in_order(engine: Engine) -> None:
    wanted = [("red", "green", "blue")[i % 3] for i in range(20)]
    colours = {"red": RED, "green": GREEN, "blue": BLUE}
    assert best(engine, [colours[name] for name in wanted]) == wanted


def test_batches_are_bounded(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Engine.load(bundle, max_batch=3) as engine:
        lengths: list[int] = []
        session = engine.session

        class Recording:
            name, version, close = session.name, session.version, session.close
            callers = 1

            def run(self, inputs: Any) -> Any:
                lengths.append(len(inputs["pixel_values"]))
                return session.run(inputs)

        with engine.hold() as model:
            monkeypatch.setattr(model, "session", Recording())
        engine([RED] * 7)
        assert lengths == [3, 3, 1]
    with pytest.raises(ValueError, match="max_batch is 0; give"):
        Engine.load(bundle, max_batch=0)


def test_a_fixed_batch_is_respected(tmp_path: Path) -> None:
    tensor = dataclasses.replace(CLASSIFIER.inputs[0], shape=(1, 3, 8, 8))
    manifest = dataclasses.replace(CLASSIFIER, inputs=(tensor,))
    text = MEAN_COLOUR.replace("batch", "1")
    with Engine.load(write_bundle(tmp_path / "fixed", manifest, text)) as engine:
        assert best(engine, [RED, BLUE]) == ["red", "blue"]


def test_detection_in_pixels_of_each_frame(detecting: Engine) -> None:
    found = detecting([solid(1, 1, 1, 16, 32), solid(1, 1, 1, 8, 8)])
    for detections, (height, width) in zip(found, ((16, 32), (8, 8)), strict=True):
        # Neither is padded to the size of the other, so the mask covers all of both.
        odds = np.exp(np.array([10.0, 0.0, 5.0]))
        # float32 softmax.
        np.testing.assert_allclose(detections.scores, odds[0] / odds.sum(), rtol=1e-6)
        assert detections.labels == ("whole",)
        # The constant box spans the width and the middle half of the height.
        np.testing.assert_array_equal(detections.boxes, [[0, height / 4, width, height * 3 / 4]])
    assert [len(d) for d in detecting([RED], threshold=0.999)] == [0]


@pytest.mark.parametrize(
    ("manifest", "text"),
    [
        pytest.param(CLASSIFIER, MEAN_COLOUR, id="classification"),
        pytest.param(DETECTOR, MASKED, id="detection"),
    ],
)
def test_back_ends_agree(manifest: Any, text: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (h, 20, 3), dtype=np.uint8) for h in (12, 24, 40)]
    inputs = dict(manifest.preprocess(frames).inputs)
    batch = inputs.pop("pixel_values")
    outputs = []
    for backend in BACKENDS:
        path = write_bundle(tmp_path / backend, manifest, text, backend)
        with Engine.load(path, threads=1) as engine:
            outputs.append(engine.infer(batch, **inputs))
    for name in outputs[0]:
        # Means of up to 128 float32 values, summed in different orders, then scaled by 10.
        np.testing.assert_allclose(outputs[0][name], outputs[1][name], atol=1e-5)


def test_infer(engine: Engine) -> None:
    batch = np.random.default_rng(0).random((5, 3, 8, 8), np.float32)
    logits = engine.infer(batch)["logits"]
    # Means of 64 values in 0..1.
    np.testing.assert_allclose(logits, batch.mean(axis=(2, 3)), atol=1e-6)
    np.testing.assert_array_equal(engine.infer(batch[::2])["logits"], logits[::2])


GOOD = np.zeros((2, 3, 8, 8), np.float32)


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        pytest.param(GOOD.tolist(), TypeError, "is a list; give a numpy array", id="list"),
        pytest.param(
            GOOD.astype(np.float64), TypeError, r"is float64; use astype\('float32'\)", id="double"
        ),
        pytest.param(GOOD.astype(np.uint8), TypeError, "is uint8", id="uint8"),
        pytest.param(GOOD.astype(">f4"), TypeError, "is >f4", id="byte order"),
        pytest.param(GOOD[0], ValueError, r"\(3, 8, 8\); .* \(batch, 3, 8, 8\)", id="no batch"),
        pytest.param(GOOD[:, :1], ValueError, r"has shape \(2, 1, 8, 8\)", id="channels"),
        pytest.param(GOOD[..., :7], ValueError, r"has shape \(2, 3, 8, 7\)", id="width"),
        pytest.param(GOOD[:0], ValueError, r"has shape \(0, 3, 8, 8\)", id="empty"),
    ],
)
def test_infer_refuses(engine: Engine, batch: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"pixel_values.*{message}") as caught:
        engine.infer(batch)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
def test_infer_refuses_what_is_not_finite(engine: Engine, value: float) -> None:
    batch = GOOD.copy()
    batch[1, 2, 3, 4] = batch[1, 2, 3, 5] = value
    with pytest.raises(ValueError, match=rf"2 values .* \({value}\) at \(1, 2, 3, 4\)"):
        engine.infer(batch)


def test_infer_takes_values_whose_squares_overflow(engine: Engine) -> None:
    batch = GOOD.copy()
    batch[0, 0, 0, 0] = 3e38
    assert engine.infer(batch)["logits"][0, 0] > 1e36


def test_equal_axis_names_have_equal_lengths(detecting: Engine) -> None:
    batch, mask = np.zeros((2, 3, 8, 12), np.float32), np.ones((2, 8, 12), np.int64)
    assert detecting.infer(batch, pixel_mask=mask)["logits"].shape == (2, 1, 3)
    mask[1, :, 6:] = 0
    # The model answers (10, 0, 5) times the share that the mask covers.
    logits = detecting.infer(batch, pixel_mask=mask)["logits"]
    np.testing.assert_array_equal(logits[:, 0], [[10, 0, 5], [5, 0, 2.5]])
    with pytest.raises(ValueError, match=r"pixel_mask .* \(batch=2, height=8, width=12\)"):
        detecting.infer(batch, pixel_mask=mask[:, :, :8])
    with pytest.raises(TypeError, match="pixel_mask is bool"):
        detecting.infer(batch, pixel_mask=mask > 0)
    with pytest.raises(ValueError, match=r"\['pixel_values'\]; the model takes .*pixel_mask"):
        detecting.infer(batch)
    with pytest.raises(ValueError, match="the model takes"):
        detecting.infer(batch, pixel_mask=mask, query=mask)


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_share_one_engine(backend: str, tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b", backend=backend)
    rng = np.random.default_rng(0)
    batches = [rng.random((1 + i % 4, 3, 8, 8), np.float32) for i in range(64)]
    with Engine.load(path, threads=1) as engine, ThreadPoolExecutor(8) as pool:
        for batch, outputs in zip(batches, pool.map(engine.infer, batches), strict=True):
            # Means of 64 values in 0..1.
            np.testing.assert_allclose(outputs["logits"], batch.mean(axis=(2, 3)), atol=1e-6)


def test_closing(bundle: Path) -> None:
    with Engine.load(bundle) as engine:
        engine([RED])
    engine.close()
    with pytest.raises(ValueError, match="the engine is closed; load it again"):
        engine([RED])
    with pytest.raises(ValueError, match="closed"):
        engine.infer(GOOD)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_engine_that_computes_something_else_is_refused(backend: str, tmp_path: Path) -> None:
    wrong = (
        MEAN_COLOUR.replace("ReduceMean", "ReduceMin")
        .replace("(pixel_values", "(scaled")
        .replace("{ logits", "{ scaled = Neg(pixel_values) logits")
    )
    path = write_bundle(tmp_path / "b", text=wrong, backend=backend)
    with pytest.raises(EngineError, match=r"golden probe . gives cosine -1.*rebuild it"):
        Engine.load(path)
    Engine.load(path, verify=False).close()


def test_too_few_probes_are_noticed(tmp_path: Path) -> None:
    golden = dataclasses.replace(CLASSIFIER.golden, probes=3)
    path = write_bundle(tmp_path / "b", dataclasses.replace(CLASSIFIER, golden=golden))
    with pytest.raises(EngineError, match="has 2 probes, the manifest says 3"):
        Engine.load(path)


def test_a_task_has_its_outputs(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b", dataclasses.replace(CLASSIFIER, task="detection"))
    with pytest.raises(EngineError, match=r"\['logits'\] for detection, expected .*pred_boxes"):
        Engine.load(path)


def test_unknown_tasks_and_back_ends(bundle: Path) -> None:
    path = bundle / "manifest.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"task": "poetry"}))
    with pytest.raises(EngineError, match=r"found task 'poetry'.*update Vitrine"):
        Engine.load(bundle)
    path.write_text(json.dumps(record | {"engine": record["engine"] | {"backend": "tvm"}}))
    with pytest.raises(EngineError, match="found back end 'tvm'"):
        Engine.load(bundle)
