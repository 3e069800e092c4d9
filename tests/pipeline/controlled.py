"""Sources and an engine whose every step a test allows, so that nothing depends on time."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime import Engine
from runtime.pipeline import Result
from runtime.sources import Source
from runtime.tasks.classification import Classification

LONG = 20.0  # seconds after which something that should have happened has not


def in_time(what: Callable[[], Any]) -> Any:
    """What it returns or raises; in a thread of its own, as it may hang."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(what).result(LONG)
    finally:
        pool.shutdown(wait=False)


def numbered(number: int, height: int = 8, width: int = 8) -> NDArray[np.uint8]:
    """A frame that carries a number in 0..255, in its red."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[..., 0] = number
    return frame


def number_in(result: Result) -> int:
    """The number that the model of `tests.runtime.bundles` has seen in the frame of a result.

    Its logits are (number / 255, 0, 0), so the probability of red is e^x / (e^x + 2).
    """
    assert isinstance(result.prediction, Classification)
    share = {guess.label: guess.probability for guess in result.prediction.top}["red"]
    return round(255 * math.log(2 * share / (1 - share)))


class Tap:
    """A source that gives what the test puts in, and ends or fails when it says so."""

    def __init__(self, *, live: bool = True, reconnect: bool = False) -> None:
        self._items: queue.Queue[Any] = queue.Queue()
        self.source = Source("tap", self._connect, live=live, reconnect=reconnect)
        self.asked = threading.Semaphore(0)  # released whenever the reader wants a frame

    def give(self, *items: Any) -> None:
        """Frames, `EngineError`s for corrupt ones, exceptions to raise, or None for the end."""
        for item in items:
            self._items.put(item)

    def read(self, count: int) -> None:
        """Wait until the reader has asked `count` times more: earlier frames are then in."""
        for _ in range(count):
            assert self.asked.acquire(timeout=LONG)

    def _connect(self) -> Iterator[Any]:
        while True:
            self.asked.release()
            item = self._items.get()
            if item is None:
                return
            if isinstance(item, OSError):
                raise item
            yield item


class Gate:
    """A session that lets inferences begin, and waits for the test to let them end."""

    def __init__(self, engine: Engine) -> None:
        """Put it in front of the session of `engine`."""
        with engine.hold() as model:
            inner = model.session
            self._run: Callable[[Mapping[str, Any]], dict[str, Any]] = inner.run
            self.name, self.version, self.close = inner.name, inner.version, inner.close
            self.callers = inner.callers
            model.session = self
        self.sizes: list[int] = []
        self.entered = threading.Semaphore(0)
        self._open = threading.Event()

    def open(self) -> None:
        """Let all go on."""
        self._open.set()

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        self.sizes.append(len(inputs["pixel_values"]))
        self.entered.release()
        assert self._open.wait(LONG)
        return self._run(inputs)
