from __future__ import annotations

import dataclasses
import itertools
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import Engine, EngineError, Pipeline
from runtime.observer import Observer
from runtime.pipeline import Result
from runtime.sources import Source
from runtime.sources.events import SourceEvent
from tests.pipeline.controlled import LONG, Gate, Tap, number_in, numbered
from tests.runtime.bundles import (
    BACKENDS,
    CLASSIFIER,
    DETECTOR,
    MASKED,
    MEAN_COLOUR,
    solid,
    write_bundle,
)


class Heard(Observer):
    """Keeps what it hears, and lets a test wait for an event."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, str]] = []
        self.batches: list[int] = []
        self.stages: list[str] = []
        self.events: list[SourceEvent] = []
        self._changed = threading.Condition()

    def frame(self, source: str, outcome: str) -> None:
        with self._changed:
            self.frames.append((source, outcome))
            self._changed.notify_all()

    def batch(self, size: int) -> None:
        self.batches.append(size)

    def stage(self, name: str, seconds: float) -> None:
        assert seconds >= 0
        self.stages.append(name)

    def event(self, event: SourceEvent) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def kinds(self, source: str) -> list[str]:
        return [event.kind for event in self.events if event.source == source]

    def wait_for(self, source: str, kind: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: kind in self.kinds(source), LONG)

    def wait_for_frames(self, source: str, outcome: str, count: int) -> None:
        with self._changed:
            wanted = (source, outcome)
            assert self._changed.wait_for(lambda: self.frames.count(wanted) >= count, LONG)


def frames(first: int, count: int) -> list[Any]:
    return [numbered(number) for number in range(first, first + count)]


def by_source(results: list[Result]) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.source, []).append(result)
    return found


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


def test_a_camera_gives_its_newest_frame(engine: Engine) -> None:
    gate, tap, heard = Gate(engine), Tap(), Heard()
    with Pipeline(engine, {"door": tap.source}, max_delay_ms=0, observer=heard) as pipeline:
        results = iter(pipeline)
        tap.give(numbered(0))
        assert gate.entered.acquire(timeout=LONG)  # frame 0 is in the engine
        tap.give(numbered(1))
        # Frame 1 is prepared meanwhile; of the others only the last one waits.
        tap.read(3)
        deadline = time.monotonic() + LONG
        while pipeline.stats()["door"].received < 2 or pipeline._waiting.depth():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        tap.give(*frames(2, 8))
        tap.read(8)
        # The stage of preparation waits with frame 1 or took one more, never a queue of old ones.
        gate.open()
        tap.give(None)
        found = [number_in(result) for result in results]
        assert found[:2] == [0, 1]
        assert found[-1] == 9
        assert len(found) <= 4
        stats = pipeline.stats()["door"]
        assert stats.dropped == 10 - len(found) == heard.frames.count(("door", "dropped"))
        assert stats.delivered == len(found) == heard.frames.count(("door", "delivered"))
        assert stats.received == 10


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


def test_sizes_that_do_not_fit_together_go_apart_and_stay_in_order(tmp_path: Path) -> None:
    plain = dataclasses.replace(CLASSIFIER.preprocess, resize="shortest_edge")
    tensor = dataclasses.replace(CLASSIFIER.inputs[0], shape=("batch", 3, "height", "width"))
    manifest = dataclasses.replace(CLASSIFIER, preprocess=plain, inputs=(tensor,))
    text = MEAN_COLOUR.replace("batch, 3, 8, 8", "batch, 3, height, width")
    bundle = write_bundle(tmp_path / "ragged", manifest, text)
    widths = itertools.cycle([8, 16, 8, 24])
    sources = {
        name: [numbered(i, 8, next(widths)) for i in range(40)] for name in ("one", "two", "three")
    }
    heard = Heard()
    with (
        Engine.load(bundle, threads=1) as engine,
        Pipeline(engine, sources, max_batch=6, observer=heard) as pipeline,
    ):
        for found in by_source(list(pipeline)).values():
            assert [number_in(result) for result in found] == list(range(40))
    assert max(heard.batches) > 1


def test_batches_fill_while_the_engine_is_busy(engine: Engine) -> None:
    gate, taps, heard = Gate(engine), {f"tap {i}": Tap() for i in range(4)}, Heard()
    sources = {name: tap.source for name, tap in taps.items()}
    with Pipeline(engine, sources, max_batch=4, max_delay_ms=0, observer=heard) as pipeline:
        first, *others = taps.values()
        first.give(numbered(1))
        assert gate.entered.acquire(timeout=LONG)
        for tap in taps.values():
            tap.give(numbered(2))
        for tap in others:
            tap.read(2)
        first.read(3)
        gate.open()
        for tap in taps.values():
            tap.give(None)
        assert len(list(pipeline)) == 5
    assert gate.sizes[0] == 1
    assert len(gate.sizes) <= 4  # not one inference a frame


def test_a_full_batch_or_one_frame_of_each_camera_does_not_wait(engine: Engine) -> None:
    one, two = Tap(), Tap()
    sources, heard, hour = {"one": one.source, "two": two.source}, Heard(), 3_600_000.0
    options: dict[str, Any] = {"max_batch": 3, "max_delay_ms": hour, "observer": heard}
    with Pipeline(engine, sources, **options) as pipeline:
        results = iter(pipeline)
        one.give(numbered(1))
        assert number_in(next(results)) == 1  # as long as `two` has sent nothing, it is not alive
        two.give(numbered(2))  # waits for `one`, which is
        heard.wait_for("two", "connected")
        one.give(numbered(3))
        assert {number_in(next(results)) for _ in range(2)} == {2, 3}
        for tap in (one, two):
            tap.give(None)
        assert list(results) == []


def test_a_frame_waits_for_others_no_longer_than_asked(engine: Engine) -> None:
    alone, other, heard = Tap(), Tap(), Heard()
    sources = {"alone": alone.source, "other": other.source}
    with Pipeline(engine, sources, max_delay_ms=30, observer=heard) as pipeline:
        results = iter(pipeline)
        alone.give(numbered(1))
        other.give(numbered(1))
        assert {next(results).source, next(results).source} == {"alone", "other"}
        alone.give(numbered(2))  # `other` is alive, so it is waited for
        result = next(results)
        assert (result.source, number_in(result)) == ("alone", 2)
        assert result.latency_ms >= 29  # Python's clocks differ by less than a millisecond
        for tap in (alone, other):
            tap.give(None)
        assert list(results) == []


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


def test_whoever_iterates_slowly_makes_memory_no_larger(engine: Engine) -> None:
    made = itertools.count()

    def endless() -> Iterator[Any]:
        while True:
            yield numbered(next(made) % 256)

    with Pipeline(engine, {"file": endless()}, max_batch=2, queue_size=2) as pipeline:
        results = iter(pipeline)
        next(results)
        settled, deadline = -1, time.monotonic() + LONG
        while settled != (settled := pipeline.stats()["file"].received):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        # Of two frames each: the queue, three stages, the channels between them, and the results.
        assert settled <= 2 * 8 + 2


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


def test_stages_are_heard(engine: Engine) -> None:
    heard = Heard()
    with Pipeline(engine, {"file": frames(0, 12)}, observer=heard) as pipeline:
        assert len(list(pipeline)) == 12
    assert sum(heard.batches) == 12
    names = ("wait", "prepare", "infer", "postprocess", "total")
    assert {name: heard.stages.count(name) for name in names} == dict.fromkeys(names, 12)
