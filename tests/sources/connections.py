"""Made-up connections, and sources that have them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from runtime.sources import Item, Source

FRAME = np.zeros((4, 6, 3), np.uint8)


def frames(count: int) -> Iterator[Item]:
    """Each filled with its number."""
    for number in range(count):
        yield np.full((4, 6, 3), number, np.uint8)


def then_raises(items: Iterable[Any], error: BaseException) -> Iterator[Any]:
    yield from items
    raise error


def source(connect: Callable[[], Iterator[Any]], *, reconnect: bool = False, **more: Any) -> Source:
    return Source("door", connect, live=reconnect, reconnect=reconnect, **more)


def connections(*made: Iterator[Any], last: Callable[[], Iterator[Any]] | None = None) -> Source:
    """A camera whose connections are `made`, in turn; each further one is `last()`."""
    waiting = iter(made)

    def connect() -> Iterator[Any]:
        found = next(waiting, None)
        if found is not None:
            return found
        return last() if last else iter(())

    return source(connect, reconnect=True)
