"""What the live page shows: the newest result of each source, and what has happened."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from runtime import Engine, Pipeline
from runtime.observer import Observer
from runtime.pipeline import Result, SourceStats
from runtime.sources.events import SourceEvent

_KEPT = 50  # events
_SAID = {
    "connected": ("is connected", "good"),
    "resumed": ("is back", "good"),
    "lost": ("is lost", "bad"),
    "stalled": ("has stalled", "bad"),
    "ended": ("has ended", "note"),
    "resized": ("has another size", "note"),
    "corrupt": ("sent what is no picture", "note"),
}


class Board(Observer):
    """Is written by the threads of an engine and a pipeline, and read by the web server.

    It passes on what it hears, so that it can stand before another observer, such as metrics, in
    one class with both as bases.
    """

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self._lock = threading.Lock()
        self._newest: dict[str, Result] = {}
        self._away: dict[str, SourceEvent] = {}  # the loss that each missing source has not ended
        self._events: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._count = 0
        self._failure: dict[str, Any] | None = None  # of the golden probes, since they passed
        self._stopped = ""

    def follow(self, pipeline: Pipeline) -> None:
        """Show every result in the place of its source's one before, until there are no more."""
        try:
            for result in pipeline:
                self._newest[result.source] = result
        except Exception as error:  # whatever it is, the page says it
            self._stopped = f"No frame is looked at any more: {error}"
            self._tell(self._stopped, "bad")

    def newest(self, source: str) -> Result | None:
        """The latest result of a source."""
        return self._newest.get(source)

    def event(self, event: SourceEvent) -> None:
        """Note what happened to a source."""
        super().event(event)
        said, level = _SAID[event.kind]
        if event.kind in ("lost", "stalled"):
            self._away[event.source] = event
        elif event.kind in ("connected", "resumed") and event.source in self._away:
            del self._away[event.source]
            said = "is back"
        detail = f": {event.detail}" if event.detail and level != "good" else ""
        self._tell(f"{event.source} {said}{detail}", level)

    def reload(self, outcome: str) -> None:
        """Note whether a new bundle is in use."""
        super().reload(outcome)
        if outcome == "done":
            self._tell("A new bundle is in use", "good")
        else:
            self._tell("The new bundle was refused, the old one stays in use", "bad")

    def probe(self, cosine: float, passed: bool) -> None:
        """Note the verdict of the golden probes; that they still pass is no news."""
        super().probe(cosine, passed)
        if not passed:
            self._failure = {"passed": False, "cosine": cosine, "time": time.time()}
            self._tell(f"The golden probes failed with cosine {cosine:.5f}", "bad")
        elif self._failure is not None:
            self._failure = None
            self._tell(f"The golden probes pass again with cosine {cosine:.5f}", "good")

    def fallback(self, backend: str) -> None:
        """Note that another back end took over."""
        super().fallback(backend)
        self._tell(f"The engine now runs in {backend}", "bad")

    def status(self, engine: Engine, pipeline: Pipeline) -> dict[str, Any]:
        """All of it but the pictures, as JSON values; times are in seconds since the epoch."""
        with self._lock:
            events = list(self._events)
        manifest = engine.manifest
        return {
            "now": time.time(),
            "engine": f"{manifest.model} in {manifest.precision} on {engine.session.name}",
            "probe": self._verdict(engine),
            "stopped": self._stopped,
            "sources": [self._source(name, of) for name, of in pipeline.stats().items()],
            "events": events,
        }

    def _source(self, name: str, stats: SourceStats) -> dict[str, Any]:
        away = self._away.get(name)
        return {
            "name": name,
            "state": stats.state,
            "since": away.time if away else None,
            "why": away.detail if away else "",
            "frames_per_second": stats.frames_per_second,
            "latency_ms": stats.latency_ms,
            "delivered": stats.delivered,
            "dropped": stats.dropped,
            "corrupt": stats.corrupt,
        }

    def _verdict(self, engine: Engine) -> dict[str, Any] | None:
        if self._failure is not None:
            return self._failure
        proof = engine.proof
        if proof is None:
            return None
        return {"passed": True, "cosine": proof.cosine, "time": proof.time}

    def _tell(self, text: str, level: str) -> None:
        with self._lock:
            self._count += 1
            event = {"id": self._count, "time": time.time(), "text": text, "level": level}
            self._events.append(event)
