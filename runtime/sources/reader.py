"""One thread for each source, which outlives whatever the source does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from runtime.errors import EngineError, one_line
from runtime.pixels import Frame, frame_size
from runtime.sources.backoff import Backoff
from runtime.sources.credentials import masked
from runtime.sources.events import SourceEvent
from runtime.sources.health import Health
from runtime.sources.source import Source

_LOG = logging.getLogger("vitrine.sources")


class Captured(NamedTuple):
    """A frame on its way to the engine.

    Attributes:
        source: its name.
        frame_id: counts every frame of the source from 0, those that could not be used too,
            across connections.
        frame: as the source gave it, in the source's pixel format.
        captured: when it came, in seconds since 1970.
        arrived: the same on the monotonic clock.
    """

    source: str
    frame_id: int
    frame: Frame
    captured: float
    arrived: float


class Reader:
    """Reads a source in a daemon thread: connects, checks, delivers, and connects again.

    A source cannot end this thread: whatever it raises is a loss, which is reported, and
    repaired with growing delays where the source allows.

    Attributes:
        received: how many frames have come, those that could not be used included.
        corrupt: how many of them could not be used.
    """

    def __init__(
        self,
        source: Source,
        deliver: Callable[[Captured], bool],
        report: Callable[[SourceEvent], None],
        *,
        stall_s: float,
        backoff: tuple[float, float] = (0.5, 30.0),
        unusable: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare to read; `start` begins.

        Args:
            source: what to read.
            deliver: is given each good frame; it may block to hold a file back, and returns
                False to end the reading.
            report: is told what happens, one event at a time, by this reader's thread and by the
                one that calls `check`; it must be quick.
            stall_s: seconds without a frame after which a source counts as stalled.
            backoff: the first and the longest delay before connecting again, in seconds.
            unusable: is called for each frame that could not be used; of many, few are reported.
        """
        self.received = 0
        self.corrupt = 0
        self._source = source
        self._deliver = deliver
        self._unusable = unusable
        self._health = Health(source.name, report, stall_s=stall_s)
        self._backoff = Backoff(*backoff)
        self._connected_at: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"vitrine-source-{source.name}", daemon=True
        )

    @property
    def state(self) -> str:
        """One of "connecting", "live", "stalled", "lost" (and trying again) and "ended"."""
        return self._health.state

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """End the reading; a delay before connecting again ends at once.

        Returns:
            Whether the thread has ended, within `timeout_s` seconds. One that still waits for its
            source ends when that gives or raises something, and delivers nothing more.
        """
        self._stopping.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def check(self, now: float) -> None:
        """Report a stall, and what was counted since it was last reported.

        Args:
            now: seconds on the monotonic clock (`time.monotonic()`).
        """
        self._health.check(now)

    def _run(self) -> None:
        """Connect until the source ends or `stop` is called."""
        while not self._stopping.is_set():
            self._connected_at = None
            loss = self._read_connection()
            if self._stopping.is_set():
                break
            if not self._source.reconnect:
                if loss is not None:
                    self._health.lost(loss, "it cannot be connected again")
                self._health.ended(self.received)
                return
            if self._connected_at is not None:
                self._backoff.connection_lasted(time.monotonic() - self._connected_at)
            self._health.lost(loss or "it ended", "connecting again, with growing delays")
            self._stopping.wait(self._backoff.delay())
        self._health.ended(None)

    def _read_connection(self) -> str | None:
        """Read until the connection ends: why it broke, or None if it came to its end."""
        items = None
        try:
            self._health.waiting(time.monotonic())
            items = iter(self._source.connect())
            for item in items:
                if self._stopping.is_set() or not self._take(item):
                    self._stopping.set()
                    break
                self._health.waiting(time.monotonic())
        except BaseException as error:  # a source is anybody's code, and may even exit
            return _line(error) if isinstance(error, EngineError) else _named(error)
        finally:
            _close(items)
        return None

    def _take(self, item: Any) -> bool:
        """Count, check and deliver one item; False when no more are wanted."""
        captured, arrived = time.time(), time.monotonic()
        frame_id = self.received
        self.received += 1
        self._health.came(frame_id)
        try:
            if isinstance(item, EngineError):
                raise ValueError(f"frame {frame_id}: {item}")
            size = frame_size(item, self._source.pixels, f"frame {frame_id}")
        except (TypeError, ValueError) as error:
            self.corrupt += 1
            self._unusable()
            self._health.corrupted(_line(error), arrived)
            return True
        if self._connected_at is None:
            self._connected_at = arrived
        self._health.sized(size, frame_id, arrived)
        return self._deliver(Captured(self._source.name, frame_id, item, captured, arrived))


def _line(error: BaseException) -> str:
    """Its message in one line, masked before it is shortened: that could cut an address in two."""
    return one_line(ValueError(masked(str(error))))


def _named(error: BaseException) -> str:
    kind = type(error).__name__
    return f"{kind}: {_line(error)}" if str(error).strip() else kind


def _close(items: Any) -> None:
    """Free what a connection holds, such as a camera, whatever state it is in."""
    close = getattr(items, "close", None)
    if close is None:
        return
    try:
        close()
    except Exception as error:  # anybody's code, and what it held is of no more use
        _LOG.debug("closing a source failed: %s", _named(error))
