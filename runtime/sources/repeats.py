"""Saying once what happens often: at first, then with counts."""

from __future__ import annotations

EVERY_S = 60.0
"""Seconds between two reports of the same trouble."""


class Repeats:
    """Decides when one kind of trouble is reported again."""

    def __init__(self, what: str) -> None:
        """Count `what`, a plural such as "frames lost"."""
        self._what = what
        self._told: float | None = None  # when, on the caller's clock
        self._untold = 0
        self._last = ""

    def another(self, detail: str, now: float) -> str | None:
        """Count one more; what to report about it now (`due`)."""
        self._untold += 1
        self._last = detail
        return self.due(now)

    def due(self, now: float) -> str | None:
        """What to report at `now`: nothing within `EVERY_S` of the last report."""
        if not self._untold or (self._told is not None and now - self._told < EVERY_S):
            return None
        count, self._untold, self._told = self._untold, 0, now
        return self._last if count == 1 else f"{count} {self._what}, the last: {self._last}"
