"""What a pipeline reported, and ways to wait for it."""

from __future__ import annotations

import threading
from typing import Any

from runtime.observer import Observer
from runtime.pipeline import Result
from runtime.sources.events import SourceEvent
from tests.pipeline.controlled import LONG, numbered


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
