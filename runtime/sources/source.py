"""What the pipeline reads from: a name and a way to connect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from runtime.errors import EngineError
from runtime.pixels import LAYOUTS, Frame

Item = Frame | EngineError
"""A frame, or why the frame in its place could not be decoded."""


@dataclass(frozen=True)
class Source:
    """Where frames come from.

    Attributes:
        name: as events and results call it; without credentials.
        connect: opens a fresh connection, an iterator that may block. It raises `EngineError`
            when it cannot be opened or is lost. A generator's `close` frees what it holds.
        live: a newer frame replaces one that still waits (a camera); otherwise frames wait
            for the engine (a file).
        reconnect: the end of the iterator is a loss, and losses are repaired by connecting
            again; otherwise either is the end of the source.
        pixels: "RGB", "BGR": uint8 (H, W, 3); "GREY": (H, W) or (H, W, 1); "NV12":
            (3 H / 2, W), the planes of 4:2:0 under each other.
    """

    name: str
    connect: Callable[[], Iterator[Item]] = field(repr=False)
    live: bool
    reconnect: bool
    pixels: str = "RGB"

    def __post_init__(self) -> None:
        """Check the pixel format; it is the one field with few values."""
        if self.pixels not in LAYOUTS:
            raise ValueError(f"pixels is {self.pixels!r}; use one of {', '.join(LAYOUTS)}")
