"""Sources and engines that fail, and pipelines that are closed."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import Engine, EngineError, Pipeline
from tests.pipeline.controlled import LONG, Gate, Tap, number_in, numbered
from tests.pipeline.listener import Heard, by_source, frames
from tests.runtime.bundles import DETECTOR, MASKED, solid, write_bundle


def test_a_dead_source_delays_no_other(engine: Engine) -> None:
    silent, heard = Tap(), Heard()
    options: dict[str, Any] = {"max_delay_ms": 1, "stall_s": 0.05, "observer": heard}
    with Pipeline(engine, {"dead": silent.source, "file": frames(0, 40)}, **options) as pipeline:
        results = iter(pipeline)
        found = [number_in(next(results)) for _ in range(40)]
        assert found == list(range(40))
        heard.wait_for("dead", "stalled")
        assert pipeline.stats()["dead"].state == "stalled"
        silent.give(numbered(77), None)
        assert [number_in(result) for result in results] == [77]
        assert heard.kinds("dead") == ["stalled", "connected", "ended"]


def test_a_broken_source_is_said_and_the_others_go_on(engine: Engine) -> None:
    tap, heard = Tap(), Heard()
    with Pipeline(engine, {"bad": tap.source, "good": frames(0, 9)}, observer=heard) as pipeline:
        tap.give(numbered(1), "no frame", EngineError("cannot decode"), OSError("unplugged"))
        results = by_source(list(pipeline))
        stats = pipeline.stats()["bad"]
    assert [number_in(result) for result in results["good"]] == list(range(9))
    assert [result.frame_id for result in results["bad"]] == [0]
    assert (stats.received, stats.corrupt, stats.delivered) == (3, 2, 1)
    assert "lost" in heard.kinds("bad")
    assert heard.frames.count(("bad", "corrupt")) == 2


def test_a_frame_that_preprocessing_refuses_is_corrupt(tmp_path: Path) -> None:
    # As a frame it is fine, but with a short side of 512 its long one would have 5 million pixels.
    strip = np.zeros((1, 10_000, 3), np.uint8)
    large = dataclasses.replace(DETECTOR.preprocess, size=512)
    bundle = write_bundle(
        tmp_path / "masked", dataclasses.replace(DETECTOR, preprocess=large), MASKED
    )
    heard = Heard()
    sources = {"strips": [solid(1, 2, 3), strip, solid(1, 2, 3)]}
    with Engine.load(bundle) as engine, Pipeline(engine, sources, observer=heard) as pipeline:
        assert [result.frame_id for result in pipeline] == [0, 2]
        stats = pipeline.stats()["strips"]
    assert (stats.delivered, stats.corrupt) == (2, 1)
    assert heard.frames.count(("strips", "corrupt")) == 1


def test_a_failing_back_end_ends_the_pipeline_with_its_error(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(inputs: Any) -> Any:
        raise EngineError("out of memory")

    with engine.hold() as model:
        monkeypatch.setattr(model.session, "run", fails)
    endless = itertools.repeat(numbered(3))
    with Pipeline(engine, {"endless": endless}) as pipeline:
        with pytest.raises(EngineError, match="out of memory"):
            list(pipeline)
        with pytest.raises(EngineError, match="out of memory"):
            list(pipeline)


def test_an_engine_that_refuses_ends_the_pipeline(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = itertools.repeat(numbered(200))
    with Pipeline(engine, {"endless": endless}) as pipeline:
        results = iter(pipeline)
        next(results)
        with engine.hold() as model:
            right = model.session.run
            monkeypatch.setattr(
                model.session, "run", lambda inputs: {k: -v for k, v in right(inputs).items()}
            )
        with pytest.raises(EngineError, match="golden probe"):
            engine.verify()
        with pytest.raises(EngineError, match="golden probe"):
            list(results)


@pytest.mark.parametrize("busy", [False, True], ids=["waiting for a frame", "in an inference"])
def test_close_ends_an_iteration_in_another_thread(engine: Engine, busy: bool) -> None:
    gate, tap = Gate(engine), Tap()
    with Pipeline(engine, {"tap": tap.source}) as pipeline, ThreadPoolExecutor(2) as pool:
        consuming = pool.submit(lambda: list(pipeline))
        tap.read(1)
        if busy:
            tap.give(*frames(0, 5))
            assert gate.entered.acquire(timeout=LONG)
        closing = pool.submit(pipeline.close)
        gate.open()
        closing.result(LONG)
        assert len(consuming.result(LONG)) <= 5
        tap.give(None)
        pipeline.close()


def test_closing_leaves_no_thread_and_no_hold(bundle: Path) -> None:
    before = set(threading.enumerate())
    for _ in range(5):
        with Engine.load(bundle, threads=1) as engine:
            with Pipeline(engine, [itertools.repeat(numbered(1))] * 1, max_batch=2) as pipeline:
                next(iter(pipeline))
            with engine.hold() as model:
                pass
        with pytest.raises(ValueError, match="closed"):  # nobody holds it any more
            model.hold()
    assert set(threading.enumerate()) <= before


def test_a_reader_that_hangs_is_left_behind(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    tap = Tap()
    with caplog.at_level(logging.WARNING, "vitrine"):
        with Pipeline(engine, {"hangs": tap.source}):
            tap.read(1)
        assert "hangs" in caplog.text
    tap.give(numbered(1))  # it comes back, and finds that nobody wants its frame
