"""How long to wait before connecting again."""

from __future__ import annotations

import random

_LEAST_SHARE = 0.5  # of a delay that jitter leaves


class Backoff:
    """Delays that double from `first` to `most` seconds, each shortened by up to half.

    The jitter keeps cameras behind one switch from reconnecting in step after it restarts.
    """

    def __init__(self, first: float, most: float, *, jitter: random.Random | None = None) -> None:
        """Start at `first` seconds; `jitter` is for tests."""
        if not 0 < first <= most < float("inf"):
            raise ValueError(
                f"the delays before connecting again are {first} and {most}; give seconds, the "
                "first above 0 and not above the longest"
            )
        self._first, self._most = first, most
        self._jitter = jitter or random.Random()
        self._next = first

    def delay(self) -> float:
        """Seconds to wait now; the next call's are up to twice as long."""
        delay = self._next * self._jitter.uniform(_LEAST_SHARE, 1.0)
        self._next = min(2 * self._next, self._most)
        return delay

    def connection_lasted(self, seconds: float) -> None:
        """Begin at the first delay again if a connection held longer than the longest delay."""
        if seconds > self._most:
            self._next = self._first
