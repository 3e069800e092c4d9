"""A bounded queue between two threads that can be closed from either side."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Channel(Generic[T]):
    """Like `queue.Queue`, whose `shutdown` only Python 3.13 has.

    Iterating takes items until the channel is closed and empty.
    """

    def __init__(self, bound: int) -> None:
        """Let at most `bound` items wait, or what was put at once when fewer did."""
        self._items: deque[T] = deque()
        self._bound, self._closed = bound, False
        self._changed = threading.Condition()

    def put(self, *items: T) -> bool:
        """Wait for room for one, and put all; False when closed, and then none was put."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._bound or self._closed)
            if self._closed:
                return False
            self._items.extend(items)
            self._changed.notify_all()
        return True

    def close(self) -> None:
        """Take no more; what is inside can still be taken out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def drain(self) -> list[T]:
        """Take everything out, without waiting."""
        with self._changed:
            items = list(self._items)
            self._items.clear()
            self._changed.notify_all()
        return items

    def __iter__(self) -> Iterator[T]:
        """Take one item after another."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._closed)
                if not self._items:
                    return
                item = self._items.popleft()
                if len(self._items) == self._bound - 1:  # otherwise nobody who waits can go on
                    self._changed.notify_all()
            yield item
