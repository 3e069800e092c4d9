"""What becomes a batch, how long frames wait for one, and which are left out."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime import Engine, Pipeline
from tests.pipeline.controlled import LONG, Gate, Tap, number_in, numbered
from tests.pipeline.listener import Heard, by_source, frames
from tests.runtime.bundles import CLASSIFIER, MEAN_COLOUR, write_bundle


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


def test_stages_are_heard(engine: Engine) -> None:
    heard = Heard()
    with Pipeline(engine, {"file": frames(0, 12)}, observer=heard) as pipeline:
        assert len(list(pipeline)) == 12
    assert sum(heard.batches) == 12
    names = ("wait", "prepare", "infer", "postprocess", "total")
    assert {name: heard.stages.count(name) for name in names} == dict.fromkeys(names, 12)
