"""Readers on made-up connections: the order of frames, losses, delays and what is told of them."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Iterator

import pytest

from runtime.errors import EngineError
from runtime.sources import Item
from tests.sources.connections import FRAME, connections, frames, source, then_raises
from tests.sources.listening import LONG_S, Heard, read_all, reading


def test_frames_come_in_order_with_times_and_the_end_is_told() -> None:
    before, before_monotonic = time.time(), time.monotonic()
    heard = read_all(source(lambda: frames(5)))
    assert heard.ids == list(range(5))
    assert [int(captured.frame[0, 0, 0]) for captured in heard.frames] == list(range(5))
    assert {captured.source for captured in heard.frames} == {"door"}
    assert heard.kinds == ["connected", "ended"]
    captured = [frame.captured for frame in heard.frames]
    arrived = [frame.arrived for frame in heard.frames]
    assert [before, *captured] == sorted([before, *captured])
    assert [before_monotonic, *arrived] == sorted([before_monotonic, *arrived])


def test_an_empty_source_ends_without_having_connected() -> None:
    heard = read_all(source(lambda: iter(())))
    assert heard.kinds == ["ended"]


@pytest.mark.parametrize(
    "error",
    [EngineError("the lens is gone"), OSError("no\nsuch device"), KeyError(), SystemExit(3)],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_source_raises_is_a_loss(error: BaseException) -> None:
    heard = read_all(source(lambda: then_raises(frames(2), error)))
    assert heard.kinds == ["connected", "lost", "ended"]
    assert heard.ids == [0, 1]
    (detail,) = heard.details("lost")
    assert "\n" not in detail
    assert detail.startswith(
        "the lens is gone" if isinstance(error, EngineError) else type(error).__name__
    )


def test_a_connection_that_is_none_is_a_loss() -> None:
    heard = read_all(source(lambda: None))  # type: ignore[arg-type, return-value]
    assert heard.kinds == ["lost", "ended"]
    assert "TypeError" in heard.details("lost")[0]


def test_a_lost_camera_is_connected_again_and_frames_are_counted_on() -> None:
    heard = Heard()
    camera = connections(
        then_raises(frames(3), OSError("unplugged")),
        then_raises([], OSError("still unplugged")),
        frames(2),
        last=lambda: then_raises([], OSError("gone for good")),
    )
    with reading(camera, heard) as reader:
        heard.wait_for_kind("lost", times=4)
        assert reader.state == "lost"
    assert heard.ids == [0, 1, 2, 3, 4]
    assert heard.kinds == ["connected", "lost", "lost", "connected", "lost", "lost"]
    reasons = ["unplugged", "still unplugged", "it ended", "gone for good"]
    assert all(reason in told for reason, told in zip(reasons, heard.details("lost"), strict=True))


def test_a_reason_that_lasts_is_told_once() -> None:
    heard = Heard()
    attempts = itertools.count()
    enough = threading.Event()

    def connect() -> Iterator[Item]:
        if next(attempts) == 20:
            enough.set()
        raise OSError("no route to host")

    with reading(source(connect, reconnect=True), heard):
        assert enough.wait(LONG_S)
    assert heard.kinds == ["lost"]


def test_only_connections_that_gave_good_frames_count_as_having_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: list[float] = []

    class Recorder:
        def __init__(self, first: float, most: float) -> None:
            assert (first, most) == (0.5, 30.0)

        def delay(self) -> float:
            return 0.0

        def connection_lasted(self, seconds: float) -> None:
            held.append(seconds)

    monkeypatch.setattr("runtime.sources.reader.Backoff", Recorder)
    heard = Heard()
    camera = connections(
        then_raises([], OSError("unplugged")),
        iter([None, None]),
        frames(1),
        iter([None]),
        last=lambda: then_raises([], OSError("gone for good")),
    )
    began = time.monotonic()
    with reading(camera, heard, backoff=(0.5, 30.0)):
        heard.wait_for(lambda: "gone for good" in "".join(heard.details("lost")))
    assert len(held) == 1
    assert 0 <= held[0] <= time.monotonic() - began


def test_every_connection_is_closed() -> None:
    closed: list[int] = []

    def connection(number: int) -> Iterator[Item]:
        try:
            yield FRAME
            if number == 1:
                raise OSError("unplugged")
        finally:
            closed.append(number)

    heard = Heard()
    numbers = itertools.count()
    with reading(source(lambda: connection(next(numbers)), reconnect=True), heard):
        heard.wait_for(lambda: len(heard.frames) >= 4)
        heard.wanted = False
    assert closed == list(range(next(numbers)))


def test_a_connection_that_fails_to_close_is_survived() -> None:
    attempts = itertools.count()

    class Stubborn:
        def __init__(self) -> None:
            self.left = [FRAME]

        def __iter__(self) -> Iterator[Item]:
            return self

        def __next__(self) -> Item:
            if not self.left:
                raise StopIteration
            return self.left.pop()

        def close(self) -> None:
            next(attempts)
            raise OSError("device busy")

    heard = Heard()
    with reading(source(Stubborn, reconnect=True), heard):
        heard.wait_for(lambda: len(heard.frames) >= 3)
    assert next(attempts) >= 3


def test_events_are_logged_with_fields(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "vitrine.sources"):
        read_all(source(lambda: then_raises(frames(1), OSError("unplugged"))))
    logged = [(record.levelname, vars(record)["event"]) for record in caplog.records]
    assert logged == [("INFO", "connected"), ("WARNING", "lost"), ("INFO", "ended")]
    lost = vars(caplog.records[1])
    assert lost["source"] == "door"
    assert "unplugged" in lost["detail"]


def test_credentials_in_an_error_reach_no_event_and_no_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = OSError("cannot open rtsp://admin:hunter2@10.0.0.7/live?token=s3cr3t")
    corrupt = EngineError("rtsp://admin:hunter2@10.0.0.7/live sent rubbish")
    with caplog.at_level(logging.DEBUG, "vitrine.sources"):
        heard = read_all(source(lambda: then_raises([corrupt], error)))
    told = [event.detail for event in heard.events] + [str(vars(r)) for r in caplog.records]
    assert any("rtsp://***@10.0.0.7/live" in text for text in told)
    assert not any(secret in text for text in told for secret in ("hunter2", "admin", "s3cr3t"))


@pytest.mark.parametrize("length", range(255, 300))
def test_a_long_message_is_not_cut_within_a_password(length: int) -> None:
    error = OSError("x" * length + " rtsp://admin:hunter2hunter2hunter2@cam/live " + "y" * 99)
    heard = read_all(source(lambda: then_raises([EngineError(str(error))], error)))
    assert len(heard.details("lost")[0]) > length
    assert not any("hunt" in event.detail for event in heard.events)
