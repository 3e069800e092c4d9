"""Readers that are stopped, are listened to by what fails, or stall."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from runtime.sources import Item
from runtime.sources.reader import Reader
from tests.sources.connections import FRAME, frames, source, then_raises
from tests.sources.listening import LONG_S, Heard, reading


def test_stopping_ends_a_delay_before_connecting_again_at_once() -> None:
    heard = Heard()
    camera = source(lambda: then_raises([], OSError("unplugged")), reconnect=True)
    # The delay is longer than the test waits for the thread, so only a cut delay passes.
    with reading(camera, heard, backoff=(100 * LONG_S, 100 * LONG_S)):
        heard.wait_for_kind("lost")


def test_the_end_of_the_pipeline_ends_the_reading() -> None:
    heard = Heard()
    heard.wanted = False
    with reading(source(lambda: itertools.repeat(FRAME)), heard) as reader:
        heard.wait_for(lambda: len(heard.frames) == 1)
        heard.wait_for(lambda: reader.state == "ended", meanwhile=lambda: None)
    assert len(heard.frames) == 1
    assert heard.kinds == ["connected"]


def test_a_source_that_never_answers_does_not_hold_up_stopping() -> None:
    answer = threading.Event()
    heard = Heard()

    def silent() -> Iterator[Item]:
        answer.wait()
        yield FRAME

    reader = Reader(source(silent), heard.deliver, heard.report, stall_s=LONG_S)
    reader.start()
    assert not reader.stop(timeout_s=0.01)
    answer.set()
    assert reader.stop(LONG_S)
    assert heard.frames == []


def test_stopping_before_the_start_and_twice_is_harmless() -> None:
    heard = Heard()
    reader = Reader(source(lambda: frames(3)), heard.deliver, heard.report, stall_s=1)
    assert reader.stop(1)
    reader.start()
    assert reader.stop(LONG_S)
    assert reader.stop(LONG_S)
    assert heard.frames == []


def test_a_listener_may_stop_the_reader_that_it_hears() -> None:
    heard = Heard()
    readers: list[Reader] = []

    def report(event: Any) -> None:
        readers[0].stop(LONG_S)
        heard.report(event)

    readers.append(Reader(source(lambda: frames(9)), heard.deliver, report, stall_s=1))
    readers[0].start()
    heard.wait_for_kind("connected")
    assert readers[0].stop(LONG_S)
    assert len(heard.frames) <= 1


def test_a_listener_that_fails_does_not_end_the_reading(caplog: pytest.LogCaptureFixture) -> None:
    heard = Heard()

    def report(event: Any) -> None:
        heard.report(event)
        raise ValueError("not today")

    reader = Reader(source(lambda: frames(3)), heard.deliver, report, stall_s=1)
    with caplog.at_level(logging.ERROR, "vitrine.sources"):
        reader.start()
        heard.wait_for_kind("ended")
    assert reader.stop(LONG_S)
    assert heard.ids == [0, 1, 2]
    assert "a listener failed on the event 'connected' of source door" in caplog.text


def test_a_stall_is_told_once_and_so_is_its_end() -> None:
    heard = Heard()
    more = threading.Event()

    def slow() -> Iterator[Item]:
        yield FRAME
        more.wait()
        yield FRAME

    with reading(source(slow), heard, stall_s=5) as reader:
        heard.wait_for(lambda: len(heard.frames) == 1)
        heard.wait_for(
            lambda: "stalled" in heard.kinds, meanwhile=lambda: reader.check(time.monotonic() + 6)
        )
        assert reader.state == "stalled"
        reader.check(time.monotonic() + 60)
        more.set()
        heard.wait_for_kind("ended")
    assert heard.kinds == ["connected", "stalled", "resumed", "ended"]


def test_a_slow_engine_is_not_a_stall() -> None:
    heard = Heard()
    entered, leave = threading.Event(), threading.Event()

    def deliver(captured: Any) -> bool:
        entered.set()
        leave.wait()
        return heard.deliver(captured)

    reader = Reader(source(lambda: frames(1)), deliver, heard.report, stall_s=5)
    reader.start()
    assert entered.wait(LONG_S)
    reader.check(time.monotonic() + 1000)
    leave.set()
    assert reader.stop(LONG_S)
    assert "stalled" not in heard.kinds


def test_a_silly_stall_time_is_refused() -> None:
    heard = Heard()
    with pytest.raises(ValueError, match=r"stall_s is 0; give seconds above 0"):
        Reader(source(lambda: frames(1)), heard.deliver, heard.report, stall_s=0)
