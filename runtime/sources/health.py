"""How a source is doing, and which changes of that are reported."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable

from runtime.sources.events import SourceEvent
from runtime.sources.repeats import Repeats

_LOG = logging.getLogger("vitrine.sources")
_WARNINGS = frozenset({"lost", "stalled", "corrupt"})


class Health:
    """The state of one source, told what happens to it by the threads that see it.

    Whatever it is told goes into events and logs, so that it must hold no credentials.

    Attributes:
        state: "connecting", "live", "stalled", "lost" or "ended".
    """

    def __init__(
        self, source: str, report: Callable[[SourceEvent], None], *, stall_s: float
    ) -> None:
        """Begin as "connecting"; `report` is given one event at a time."""
        if not stall_s > 0:
            raise ValueError(f"stall_s is {stall_s!r}; give seconds above 0")
        self.state = "connecting"
        self._source = source
        self._report = report
        self._stall_s = stall_s
        self._connected = False
        self._loss = ""  # the reason that was reported last
        self._size: tuple[int, int] | None = None
        self._waiting_since: float | None = None  # None while the engine is waited for instead
        self._corrupt = Repeats("frames could not be used")
        self._resized = Repeats("changes of size")
        # Reentrant: an application may close everything when it hears of an event.
        self._lock = threading.RLock()

    def waiting(self, now: float) -> None:
        """The source, and not the engine, is waited for since `now`."""
        self._waiting_since = now

    def came(self, frame_id: int) -> None:
        """The source gave something."""
        with self._lock:
            self._waiting_since = None
            if not self._connected:
                self._connected = True
                self._change("live", "connected", f"frame {frame_id} is the first")
            elif self.state == "stalled":
                self._change("live", "resumed", f"with frame {frame_id}")

    def sized(self, size: tuple[int, int], frame_id: int, now: float) -> None:
        """A good frame has this (height, width)."""
        with self._lock:
            if self._size is not None and self._size != size:
                (old_h, old_w), (new_h, new_w) = self._size, size
                detail = f"from {old_w} x {old_h} to {new_w} x {new_h} at frame {frame_id}"
                self._tell("resized", self._resized.another(detail, now))
            self._size = size

    def corrupted(self, reason: str, now: float) -> None:
        """A frame could not be used."""
        with self._lock:
            self._tell("corrupt", self._corrupt.another(reason, now))

    def lost(self, reason: str, then: str) -> None:
        """The connection broke or was not made; a reason that lasts is reported once."""
        with self._lock:
            self._waiting_since = None
            self._connected = False
            if self.state != "lost" or reason != self._loss:
                self._loss = reason
                self._change("lost", "lost", f"{reason}; {then}")

    def ended(self, frames: int | None) -> None:
        """Nothing more will come: after so many frames, or None when the application closes."""
        with self._lock:
            self._waiting_since = None
            if frames is None:
                self.state = "ended"
                return
            self._counts(math.inf)
            self._change("ended", "ended", f"after {frames} frames")

    def check(self, now: float) -> None:
        """Report a stall, and what was counted since it was last reported."""
        with self._lock:
            since = self._waiting_since
            if (
                self.state in ("connecting", "live")
                and since is not None
                and now - since > self._stall_s
            ):
                self._change("stalled", "stalled", f"no frame for {now - since:.1f} s")
            if self.state != "ended":
                self._counts(now)

    def _counts(self, now: float) -> None:
        self._tell("corrupt", self._corrupt.due(now))
        self._tell("resized", self._resized.due(now))

    def _change(self, state: str, kind: str, detail: str) -> None:
        back = state == "live" and self.state in ("lost", "stalled")
        self.state = state
        # Who is shown only warnings would otherwise believe that it is still away.
        self._tell(kind, detail, warn=back)

    def _tell(self, kind: str, detail: str | None, *, warn: bool = False) -> None:
        if detail is None:
            return
        event = SourceEvent(self._source, kind, detail)
        _LOG.log(
            logging.WARNING if warn or kind in _WARNINGS else logging.INFO,
            "source %s %s: %s", event.source, event.kind, event.detail,
            extra={"source": event.source, "event": event.kind, "detail": event.detail},
        )  # fmt: skip
        try:
            self._report(event)
        except Exception:  # an application's listener must not end the reading
            _LOG.exception("a listener failed on the event %r of source %s", kind, self._source)
