"""When a source's state changes, and which changes are told, on a made-up clock."""

from __future__ import annotations

import logging
import random

import pytest

from runtime.sources.backoff import Backoff
from runtime.sources.events import SourceEvent
from runtime.sources.health import Health
from runtime.sources.repeats import EVERY_S, Repeats


def watched() -> tuple[Health, list[str]]:
    told: list[str] = []
    health = Health("door", lambda event: told.append(f"{event.kind}: {event.detail}"), stall_s=10)
    return health, told


def test_a_source_that_has_never_sent_anything_stalls_too() -> None:
    health, told = watched()
    health.waiting(100.0)
    health.check(110.0)
    assert health.state == "connecting"
    health.check(110.5)
    assert health.state == "stalled"
    assert told == ["stalled: no frame for 10.5 s"]


def test_its_first_frame_after_that_connects_it() -> None:
    health, told = watched()
    health.waiting(100.0)
    health.check(111.0)
    health.came(0)
    assert health.state == "live"
    assert told[1:] == ["connected: frame 0 is the first"]


def test_a_stall_that_breaks_is_a_loss_and_no_second_stall() -> None:
    health, told = watched()
    health.waiting(100.0)
    health.came(0)
    health.waiting(100.0)
    health.check(111.0)
    health.lost("no frame for 10 s", "trying again")
    health.waiting(112.0)
    health.check(200.0)
    assert health.state == "lost"
    assert [line.partition(":")[0] for line in told] == ["connected", "stalled", "lost"]


def test_who_is_warned_of_an_absence_is_warned_of_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    health, _ = watched()
    with caplog.at_level(logging.INFO, "vitrine.sources"):
        health.came(0)
        health.waiting(100.0)
        health.check(111.0)
        health.came(1)
        health.lost("no route to host", "connecting again")
        health.came(2)
        health.ended(3)
    assert [(record.levelname, vars(record)["event"]) for record in caplog.records] == [
        ("INFO", "connected"), ("WARNING", "stalled"), ("WARNING", "resumed"),
        ("WARNING", "lost"), ("WARNING", "connected"), ("INFO", "ended"),
    ]  # fmt: skip


def test_nothing_is_told_after_the_end() -> None:
    health, told = watched()
    for number in range(3):
        health.corrupted(f"frame {number}: torn", 100.0)
    health.ended(None)
    health.waiting(100.0)
    health.check(1e9)
    assert health.state == "ended"
    assert told == ["corrupt: frame 0: torn"]


def test_what_was_counted_is_told_before_the_end() -> None:
    health, told = watched()
    for number in range(3):
        health.corrupted(f"frame {number}: torn", 100.0)
    health.ended(3)
    assert told == [
        "corrupt: frame 0: torn",
        "corrupt: 2 frames could not be used, the last: frame 2: torn",
        "ended: after 3 frames",
    ]


def test_counts_are_told_by_the_clock_when_the_trouble_is_over() -> None:
    health, told = watched()
    for number in range(3):
        health.corrupted(f"frame {number}: torn", 100.0)
    health.check(100.0 + EVERY_S - 1)
    assert len(told) == 1
    health.check(100.0 + EVERY_S)
    health.check(100.0 + 5 * EVERY_S)
    assert told[1:] == ["corrupt: 2 frames could not be used, the last: frame 2: torn"]


def test_steady_trouble_is_told_once_a_minute() -> None:
    repeats = Repeats("frames lost")
    told = [repeats.another(f"frame {second}", float(second)) for second in range(3600)]
    lines = [line for line in told if line]
    assert len(lines) == 3600 / EVERY_S
    assert lines[:2] == ["frame 0", "60 frames lost, the last: frame 60"]


def test_delays_double_to_the_longest_and_differ() -> None:
    backoff = Backoff(0.5, 30.0, jitter=random.Random(7))
    full = [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    delays = [backoff.delay() for _ in full]
    assert all(most / 2 <= delay <= most for delay, most in zip(delays, full, strict=True))
    shares = {delay / most for delay, most in zip(delays, full, strict=True)}
    assert len(shares) == len(full)


def test_only_a_connection_that_held_makes_delays_short_again() -> None:
    backoff = Backoff(0.5, 30.0)
    for _ in range(9):
        backoff.delay()
    backoff.connection_lasted(29.0)
    assert backoff.delay() >= 15
    backoff.connection_lasted(31.0)
    assert backoff.delay() <= 0.5


@pytest.mark.parametrize("delays", [(0, 1), (-1, 1), (2, 1), (1, float("inf"))])
def test_delays_that_make_no_sense_are_refused(delays: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="give seconds, the first above 0 and not"):
        Backoff(*delays)


def test_an_event_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="'vanished'; use one of connected, lost"):
        SourceEvent("door", "vanished", "")
