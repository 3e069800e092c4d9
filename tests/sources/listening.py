"""What a reader delivered and reported, and ways to wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from runtime.sources.events import SourceEvent
from runtime.sources.reader import Captured, Reader
from runtime.sources.source import Source

LONG_S = 120.0
"""How long a test waits for what should come at once, before it fails."""


class Heard:
    """Listens to a `Reader`."""

    def __init__(self) -> None:
        self.frames: list[Captured] = []
        self.events: list[SourceEvent] = []
        self.wanted = True
        self._changed = threading.Condition()

    def deliver(self, captured: Captured) -> bool:
        with self._changed:
            self.frames.append(captured)
            self._changed.notify_all()
        return self.wanted

    def report(self, event: SourceEvent) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    @property
    def ids(self) -> list[int]:
        return [captured.frame_id for captured in self.frames]

    def details(self, kind: str) -> list[str]:
        return [event.detail for event in self.events if event.kind == kind]

    def wait_for(
        self, condition: Callable[[], bool], *, meanwhile: Callable[[], Any] | None = None
    ) -> None:
        """Wait until `condition` holds, calling `meanwhile` every so often."""
        end = time.monotonic() + LONG_S
        while True:
            with self._changed:
                if condition():
                    return
                self._changed.wait(0.02 if meanwhile else end - time.monotonic())
            assert time.monotonic() < end, f"in vain; heard {self.kinds}, {len(self.frames)} frames"
            if meanwhile:
                meanwhile()

    def wait_for_kind(self, kind: str, *, times: int = 1, **options: Any) -> None:
        self.wait_for(lambda: self.kinds.count(kind) >= times, **options)


@contextmanager
def reading(source: Source, heard: Heard, **options: Any) -> Iterator[Reader]:
    """A started reader, stopped at the end, which must have ended its thread."""
    options = {"stall_s": LONG_S, "backoff": (0.001, 0.002)} | options
    reader = Reader(source, heard.deliver, heard.report, **options)
    reader.start()
    try:
        yield reader
    finally:
        ended = reader.stop(LONG_S)
    assert ended
    assert reader.state == "ended"


def read_all(source: Source) -> Heard:
    """All that a source delivers until it ends."""
    heard = Heard()
    with reading(source, heard):
        heard.wait_for_kind("ended")
    return heard
