"""Loops begun again, reloads to other batches and sizes, frames and results that had to wait."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from runtime import Engine, Pipeline
from runtime.observer import Observer
from runtime.pipeline.waiting import Waiting
from runtime.sources.reader import Captured
from tests.pipeline.controlled import LONG, in_time, number_in, numbered
from tests.runtime.bundles import CLASSIFIER, MEAN_COLOUR, write_bundle


def test_a_failing_stage_is_said_whatever_it_raises(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Panic(BaseException):
        """As libraries in Rust raise."""

    def panics(inputs: Any) -> Any:
        raise Panic("unwrap on None")

    with engine.hold() as model:
        monkeypatch.setattr(model.session, "run", panics)
    with Pipeline(engine, [[numbered(1)]]) as pipeline, pytest.raises(Panic):
        in_time(lambda: list(pipeline))


def test_a_loop_that_is_left_and_begun_again_loses_no_result(engine: Engine) -> None:
    with Pipeline(engine, [[numbered(i) for i in range(40)]]) as pipeline:
        found = []
        while result := next(iter(pipeline), None):
            found.append(number_in(result))
        assert found == list(range(40))
        assert next(iter(pipeline.stats().values())).delivered == 40


def other_size(folder: Path, batch: int | str = "batch") -> Path:
    """The same model for 4 x 4 pixels."""
    tensor = dataclasses.replace(CLASSIFIER.inputs[0], shape=(batch, 3, 4, 4))
    preprocess = dataclasses.replace(CLASSIFIER.preprocess, size=4)
    manifest = dataclasses.replace(CLASSIFIER, inputs=(tensor,), preprocess=preprocess)
    text = MEAN_COLOUR.replace("8, 8", "4, 4").replace("batch", str(batch))
    return write_bundle(folder, manifest, text)


@pytest.mark.parametrize("batch", ["batch", 1, 3, 16], ids=str)
def test_reloading_may_change_size_and_batch(
    batch: int | str, engine: Engine, bundle: Path, tmp_path: Path
) -> None:
    new = other_size(tmp_path / "new", batch)
    sent = {f"file {i}": [numbered(i) for i in range(200)] for i in range(3)}
    found: dict[str, list[int]] = {name: [] for name in sent}
    with Pipeline(engine, sent, max_batch=8) as pipeline:
        for count, result in enumerate(pipeline):
            found[result.source].append(number_in(result))
            if count % 150 == 50:
                engine.reload(new if count % 300 == 50 else bundle)
    assert all(numbers == list(range(200)) for numbers in found.values())


def test_no_batch_is_larger_than_the_engine_takes(bundle: Path) -> None:
    sizes: list[int] = []

    class Sizes(Observer):
        def batch(self, size: int) -> None:
            sizes.append(size)

    with (
        Engine.load(bundle, max_batch=3) as engine,
        Pipeline(engine, [[numbered(1)] * 40] * 1, max_batch=9, observer=Sizes()) as pipeline,
    ):
        assert len(list(pipeline)) == 40
    assert max(sizes) <= 3


def test_a_frame_that_has_waited_does_not_wait_again_for_others() -> None:
    bounds, live = {"one": 2, "two": 2}, {"one": True, "two": True}
    waiting = Waiting(bounds, live, dropped=lambda name: None, expected=lambda name: True)
    hour_ago = time.monotonic() - 3600
    frame = Captured("one", 0, numbered(1), time.time(), hour_ago)
    assert waiting.put(frame)
    # It has been in the queue for an hour while the engine was busy, and `two` has sent nothing.
    assert in_time(lambda: waiting.take(8, 1800.0)) == [frame]


def test_a_reader_that_has_waited_for_room_reads_several_frames_at_one_go() -> None:
    bounds, live = {"file": 4}, {"file": False}
    waiting = Waiting(bounds, live, dropped=lambda name: None, expected=lambda name: True)
    frames = [Captured("file", i, numbered(i), time.time(), time.monotonic()) for i in range(7)]
    reader = threading.Thread(target=lambda: [waiting.put(frame) for frame in frames])
    reader.start()
    deadline = time.monotonic() + LONG
    while waiting.depth() < 4:
        assert time.monotonic() < deadline
    found = waiting.take(2, 0.0)
    # Were it woken when there is room for one, it would have put another by now.
    reader.join(0.1)
    assert waiting.depth() == 2
    found += waiting.take(1, 0.0)
    reader.join(LONG)
    assert waiting.depth() == 4
    found += waiting.take(4, 0.0)
    assert [frame.frame_id for frame in found] == list(range(7))


def test_the_age_of_a_result_counts_from_its_frame(engine: Engine) -> None:
    with Pipeline(engine, {"file": [numbered(1)]}) as pipeline:
        deadline = time.monotonic() + LONG
        while pipeline.stats()["file"].received < 1:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        there = time.monotonic()
        time.sleep(0.2)  # a slow application
        next(iter(pipeline))
        waited = time.monotonic() - there
        age = pipeline.stats()["file"].age_s
        assert age is not None
        assert age >= waited
