"""What happens to a source, as an application is told."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

KINDS = ("connected", "lost", "stalled", "resumed", "ended", "resized", "corrupt")
"""What can happen: see `SourceEvent`."""


@dataclass(frozen=True)
class SourceEvent:
    """Something that an operator of cameras may want to know.

    Attributes:
        source: the name of the source.
        kind: "connected" (the first frame of a connection is here), "lost" (the connection
            failed or broke), "stalled" (no frame for long), "resumed" (a frame after a stall),
            "ended" (no more frames will come), "resized" (frames have another size now) or
            "corrupt" (a frame could not be used).
        detail: one line for people, without credentials.
        time: seconds since 1970 (`time.time()`).
    """

    source: str
    kind: str
    detail: str
    time: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        """Refuse a kind that nobody listens for."""
        if self.kind not in KINDS:
            raise ValueError(f"a source event of kind {self.kind!r}; use one of {', '.join(KINDS)}")
