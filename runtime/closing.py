"""`with` for what has a `close`, and is used inside under its own name."""

from __future__ import annotations

import abc
from types import TracebackType
from typing import TypeVar

Opened = TypeVar("Opened", bound="Closing")


class Closing(abc.ABC):
    """Gives itself on entering and calls `close` on leaving, whatever happened in between."""

    @abc.abstractmethod
    def close(self) -> None:
        """Free what it holds."""

    def __enter__(self: Opened) -> Opened:
        """Return the object itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()
