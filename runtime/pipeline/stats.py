"""What a pipeline counts of each source."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque

_KEPT = 512  # deliveries from which rates and percentiles are made
_RATE_S = 10.0  # seconds over which a rate is made, so that it follows a camera


@dataclasses.dataclass(frozen=True)
class SourceStats:
    """A source at one moment.

    Attributes:
        state: "connecting", "live", "stalled", "lost" (and trying again) or "ended".
        detail: the last thing that happened to it, for people.
        received: frames that it has sent.
        delivered: frames whose prediction has come out.
        dropped: frames that were replaced by newer ones while they waited.
        corrupt: frames that could not be decoded or used.
        frames_per_second: that came out, over the last ten seconds.
        latency_ms: 50th, 90th and 99th percentile from arrival to prediction, of the last
            512 frames; None before the first.
        age_s: seconds since the last frame arrived whose prediction came out; None before it.
    """

    state: str
    detail: str
    received: int
    delivered: int
    dropped: int
    corrupt: int
    frames_per_second: float
    latency_ms: tuple[float, float, float] | None
    age_s: float | None


class Tally:
    """Counts of one source, from several threads."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.detail = ""
        self._lock = threading.Lock()
        self._delivered = self._dropped = self._unusable = 0
        self._arrived: float | None = None  # the newest frame that was delivered
        self._recent: deque[tuple[float, float]] = deque(maxlen=_KEPT)  # (moment, latency in ms)

    def delivered(self, arrived: float, latency_ms: float) -> None:
        """A prediction has come out, of a frame that arrived then on the monotonic clock."""
        with self._lock:
            self._delivered += 1
            self._arrived = arrived
            self._recent.append((time.monotonic(), latency_ms))

    def dropped(self) -> None:
        """A frame was replaced by a newer one."""
        with self._lock:
            self._dropped += 1

    def unusable(self) -> None:
        """A frame was refused by preprocessing."""
        with self._lock:
            self._unusable += 1

    def stats(self, state: str, received: int, corrupt: int) -> SourceStats:
        """All of it now; what a reader knows is given."""
        now = time.monotonic()
        with self._lock:
            recent = list(self._recent)
            arrived = self._arrived
            counts = self._delivered, self._dropped, corrupt + self._unusable
        late = [moment for moment, _ in recent if now - moment <= _RATE_S]
        return SourceStats(
            state,
            self.detail,
            received,
            *counts,
            frames_per_second=(len(late) - 1) / (now - late[0]) if len(late) > 1 else 0.0,
            latency_ms=_percentiles([latency for _, latency in recent]),
            age_s=None if arrived is None else now - arrived,
        )


def _percentiles(values: list[float]) -> tuple[float, float, float] | None:
    """The 50th, 90th and 99th by the nearest rank."""
    if not values:
        return None
    ordered = sorted(values)

    def rank(percent: int) -> float:
        return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]

    return rank(50), rank(90), rank(99)
