"""Readers on made-up connections: frames, losses, delays, stalls and corrupt frames."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest

from runtime.errors import EngineError
from runtime.sources import Item, Source
from runtime.sources.reader import Reader
from tests.sources.listening import LONG_S, Heard, read_all, reading

FRAME = np.zeros((4, 6, 3), np.uint8)


def frames(count: int) -> Iterator[Item]:
    """Each filled with its number."""
    for number in range(count):
        yield np.full((4, 6, 3), number, np.uint8)


def then_raises(items: Iterable[Any], error: BaseException) -> Iterator[Any]:
    yield from items
    raise error


def source(connect: Callable[[], Iterator[Any]], *, reconnect: bool = False, **more: Any) -> Source:
    return Source("door", connect, live=reconnect, reconnect=reconnect, **more)


def connections(*made: Iterator[Any], last: Callable[[], Iterator[Any]] | None = None) -> Source:
    """A camera whose connections are `made`, in turn; each further one is `last()`."""
    waiting = iter(made)

    def connect() -> Iterator[Any]:
        found = next(waiting, None)
        if found is not None:
            return found
        return last() if last else iter(())

    return source(connect, reconnect=True)


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


BROKEN: dict[str, tuple[str, Any]] = {
    "none": ("RGB", None),
    "not decoded": ("RGB", EngineError("frame.png is not a readable image")),
    "list": ("RGB", [[0]]),
    "float": ("RGB", np.zeros((4, 6, 3), np.float32)),
    "grey for RGB": ("RGB", np.zeros((4, 6), np.uint8)),
    "RGBA": ("BGR", np.zeros((4, 6, 4), np.uint8)),
    "no pixels": ("RGB", np.zeros((0, 6, 3), np.uint8)),
    "RGB for grey": ("GREY", FRAME),
    "two channels": ("GREY", np.zeros((4, 6, 2), np.uint8)),
    "NV12 of odd height": ("NV12", np.zeros((4, 6), np.uint8)),
    "NV12 of odd width": ("NV12", np.zeros((6, 5), np.uint8)),
}
SOUND = {
    "RGB": FRAME,
    "BGR": FRAME,
    "GREY": np.zeros((4, 6), np.uint8),
    "NV12": np.zeros((6, 6), np.uint8),
}


@pytest.mark.parametrize(("pixels", "item"), BROKEN.values(), ids=BROKEN)
def test_a_corrupt_frame_is_counted_told_and_survived(pixels: str, item: Any) -> None:
    heard = Heard()
    good = SOUND[pixels]
    with reading(source(lambda: iter([good, item, good]), pixels=pixels), heard) as reader:
        heard.wait_for_kind("ended")
    assert heard.ids == [0, 2]
    assert heard.kinds == ["connected", "corrupt", "ended"]
    assert heard.details("corrupt")[0].startswith("frame 1")
    assert (reader.received, reader.corrupt) == (3, 1)


@pytest.mark.parametrize(
    ("pixels", "good"),
    [*SOUND.items(), ("GREY", np.zeros((4, 6, 1), np.uint8))],
    ids=[*SOUND, "GREY with its axis"],
)
def test_frames_of_every_pixel_format_pass(pixels: str, good: Any) -> None:
    heard = read_all(source(lambda: iter([good, good]), pixels=pixels))
    assert heard.ids == [0, 1]


def test_many_corrupt_frames_make_few_events_and_are_counted() -> None:
    items = [None if number % 2 else FRAME for number in range(1000)]
    heard = Heard()
    counted = itertools.count()
    with reading(source(lambda: iter(items)), heard, unusable=lambda: next(counted)):
        heard.wait_for_kind("ended")
    assert len(heard.frames) == next(counted) == 500
    first, rest = heard.details("corrupt")
    assert first.startswith("frame 1")
    assert rest.startswith("499 frames could not be used, the last: frame 999 ")


def test_a_change_of_size_is_told_and_frames_go_on() -> None:
    wide, tall = np.zeros((4, 6, 3), np.uint8), np.zeros((8, 5, 3), np.uint8)
    heard = read_all(source(lambda: iter([wide, wide, tall, tall])))
    assert heard.ids == [0, 1, 2, 3]
    assert heard.details("resized") == ["from 6 x 4 to 5 x 8 at frame 2"]


def test_a_camera_that_comes_back_with_another_size_is_told() -> None:
    heard = Heard()
    tall = np.zeros((8, 5, 3), np.uint8)
    with reading(connections(frames(1), iter([tall])), heard):
        heard.wait_for_kind("resized")
    assert heard.kinds[:4] == ["connected", "lost", "connected", "resized"]


def test_a_silly_stall_time_is_refused() -> None:
    heard = Heard()
    with pytest.raises(ValueError, match=r"stall_s is 0; give seconds above 0"):
        Reader(source(lambda: frames(1)), heard.deliver, heard.report, stall_s=0)


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
