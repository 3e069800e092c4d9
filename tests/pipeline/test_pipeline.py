"""Every frame comes out once, in order and with its own answer; what makes no sense is refused."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import Engine, EngineError, Pipeline
from runtime.sources import Source
from tests.pipeline.controlled import LONG, number_in
from tests.pipeline.listener import by_source, frames
from tests.runtime.bundles import BACKENDS, DETECTOR, MASKED, solid, write_bundle


@pytest.mark.parametrize("max_batch", [1, 3, 8])
@pytest.mark.parametrize("queue_size", [None, 1], ids=["default queues", "queues of one"])
def test_every_frame_of_files_comes_out_in_order_with_its_own_answer(
    engine: Engine, max_batch: int, queue_size: int | None
) -> None:
    sources = {f"file {i}": frames(50 * i, 30 + i) for i in range(4)}
    options: dict[str, Any] = {"max_batch": max_batch, "queue_size": queue_size}
    before = time.time()
    with Pipeline(engine, sources, **options) as pipeline:
        results = by_source(list(pipeline))
        stats = pipeline.stats()
    for index, (name, sent) in enumerate(sources.items()):
        found = results[name]
        assert [result.frame_id for result in found] == list(range(len(sent)))
        assert [number_in(result) for result in found] == [50 * index + i for i in range(len(sent))]
        assert all(result.frame is frame for result, frame in zip(found, sent, strict=True))
        assert all(before <= result.captured <= time.time() for result in found)
        assert all(result.latency_ms > 0 and result.pixels == "RGB" for result in found)
        counts = stats[name]
        assert (counts.state, counts.received, counts.delivered) == ("ended", len(sent), len(sent))
        assert (counts.dropped, counts.corrupt) == (0, 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_streams_side_by_side_keep_the_order(backend: str, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", backend=backend)
    sources = {f"file {i}": frames(0, 100) for i in range(3)}
    with Engine.load(bundle, streams=3) as engine:
        assert engine.callers >= 3
        with Pipeline(engine, sources, max_batch=2) as pipeline:
            for found in by_source(list(pipeline)).values():
                assert [number_in(result) for result in found] == list(range(100))


def test_an_earlier_batch_that_takes_longer_still_comes_first(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_is_done = threading.Event()
    with Engine.load(bundle, streams=2) as engine:
        with engine.hold() as model:
            run = model.session.run

        def slow_at_first(inputs: Any) -> Any:
            outputs = run(inputs)
            if round(255 * float(outputs["logits"][0, 0])) == 1:
                assert second_is_done.wait(LONG)
            else:
                second_is_done.set()
            return outputs

        monkeypatch.setattr(model.session, "run", slow_at_first)
        with Pipeline(engine, [frames(1, 2)], max_batch=1) as pipeline:
            assert [number_in(result) for result in pipeline] == [1, 2]


def test_an_answer_is_that_of_the_frame_alone(tmp_path: Path) -> None:
    sizes = [(9, 20), (30, 8), (8, 8), (20, 9), (8, 8)]
    sent = [solid(1, 2, 3, *size) for size in sizes]
    bundle = write_bundle(tmp_path / "masked", DETECTOR, MASKED)
    with Engine.load(bundle) as engine:
        alone = [engine([frame], threshold=0.0)[0] for frame in sent]
        with Pipeline(engine, [sent], threshold=0.0) as pipeline:
            piped = [result.prediction for result in pipeline]
        for found in (piped, engine(sent, threshold=0.0)):
            for one, expected in zip(found, alone, strict=True):
                # The model's answer follows the share of the batch that is image: padding shows.
                np.testing.assert_array_equal(one.scores, expected.scores)
                np.testing.assert_array_equal(one.boxes, expected.boxes)


def test_frames_in_other_layouts(engine: Engine) -> None:
    blue, green = solid(0, 0, 255), np.full((8, 8), 7, np.uint8)
    sources = {
        "bgr": Source("bgr", lambda: iter([blue]), live=False, reconnect=False, pixels="BGR"),
        "grey": Source("grey", lambda: iter([green]), live=False, reconnect=False, pixels="GREY"),
    }
    with Pipeline(engine, sources) as pipeline:
        found = {result.source: result for result in pipeline}
    assert found["bgr"].prediction.top[0].label == "red"  # type: ignore[union-attr]
    assert [found[name].pixels for name in ("bgr", "grey")] == ["BGR", "GREY"]


def test_reloading_drops_no_frame(engine: Engine, tmp_path: Path) -> None:
    new = write_bundle(tmp_path / "new")
    sources = {f"file {i}": frames(0, 200) for i in range(3)}
    with Pipeline(engine, sources, max_batch=3) as pipeline:
        results = []
        for count, result in enumerate(pipeline):
            results.append(result)
            if count % 100 == 50:
                engine.reload(new)
    for found in by_source(results).values():
        assert [number_in(result) for result in found] == list(range(200))


@pytest.mark.parametrize(
    ("sources", "options", "error", "message"),
    [
        pytest.param({}, {}, ValueError, "found no sources", id="none"),
        pytest.param("video.mp4", {}, TypeError, "give a mapping or a list", id="text"),
        pytest.param({1: []}, {}, TypeError, "give each a text", id="a name that is none"),
        pytest.param({"a": 1.5}, {}, TypeError, "a source is 1.5", id="no source"),
        pytest.param([[], []], {}, ValueError, "give each a name of its own", id="same names"),
        pytest.param({"a": []}, {"max_batch": 0}, ValueError, "max_batch is 0", id="batch"),
        pytest.param({"a": []}, {"queue_size": 1.5}, ValueError, "queue_size is 1.5", id="queue"),
        pytest.param({"a": []}, {"max_delay_ms": -1}, ValueError, "max_delay_ms is -1", id="delay"),
        pytest.param({"a": []}, {"threshold": 7}, ValueError, "threshold is 7", id="threshold"),
        pytest.param({"a": []}, {"reconnect_s": (2, 1)}, ValueError, "are 2 and 1", id="delays"),
        pytest.param({"a": []}, {"stall_s": 0}, ValueError, "stall_s is 0", id="stall"),
        pytest.param({"a": "no/such.mp4"}, {}, EngineError, "no/such.mp4", id="no file"),
    ],
)
def test_what_makes_no_sense_is_refused(
    sources: Any, options: Any, error: type[Exception], message: str, engine: Engine
) -> None:
    before = set(threading.enumerate())
    with pytest.raises(error, match=message):
        Pipeline(engine, sources, **options)
    assert set(threading.enumerate()) <= before
