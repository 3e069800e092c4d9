"""Frames that wait to be taken into a batch, each source in a short queue of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from runtime.sources.reader import Captured


class Waiting:
    """Bounded queues between the readers of sources and the one thread that makes batches."""

    def __init__(
        self,
        bounds: Mapping[str, int],
        live: Mapping[str, bool],
        *,
        dropped: Callable[[str], None],
        expected: Callable[[str], bool],
    ) -> None:
        """Make a queue for each source.

        Args:
            bounds: frames at most that wait, by source.
            live: whether a new frame replaces the oldest that waits, where the queue is full;
                otherwise its reader waits.
            dropped: told of each frame that was replaced.
            expected: whether a frame of a source may come soon, so that a batch waits for it.
        """
        self._queues: dict[str, deque[Captured]] = {name: deque() for name in bounds}
        self._bounds, self._live = bounds, live
        self._dropped, self._expected = dropped, expected
        self._open = set(bounds)  # sources that have not ended
        self._turn = 0  # whose frame is taken first, so that none is served less
        self._closed = False
        self._engine_idle = True
        self._wanted = 1  # so many waiting frames complete what `take` waits for
        # One lock, and a condition for each that waits: a frame wakes nobody who cannot go on.
        lock = threading.Lock()
        self._some = threading.Condition(lock)
        self._room = {name: threading.Condition(lock) for name in bounds}

    def put(self, frame: Captured) -> bool:
        """Let a frame wait; False when nobody will take it any more."""
        queue, bound = self._queues[frame.source], self._bounds[frame.source]
        dropped = 0
        with self._some:
            if self._live[frame.source]:
                while len(queue) >= bound:
                    queue.popleft()
                    dropped += 1
            elif len(queue) >= bound:
                self._room[frame.source].wait_for(
                    lambda: self._has_room(frame.source) or self._closed
                )
            if not self._closed:
                queue.append(frame)
                if self.depth() >= self._wanted:
                    self._some.notify()
        for _ in range(dropped):
            self._dropped(frame.source)
        return not self._closed

    def end(self, source: str) -> None:
        """No further frame of `source` will come."""
        with self._some:
            self._open.discard(source)
            self._some.notify()

    def take(self, most: int, max_delay: float) -> list[Captured]:
        """Wait for a frame, then for a fuller batch until one has waited `max_delay` seconds.

        A batch is also full when it has a frame of every source that is expected to send one: a
        second frame of the same camera is no reason to wait. While the engine is busy, waiting
        costs nothing, so the batch may fill until it is not.

        Returns:
            1 to `most` frames, those of one source in order; none when no more will come.
        """
        with self._some:
            self._wanted = 1
            self._some.wait_for(lambda: self._closed or self.depth() or not self._open)
            taken: list[Captured] = []
            while not self._closed:
                self._move(taken, most)
                now = time.monotonic()
                left = min((frame.arrived for frame in taken), default=now) + max_delay - now
                due = left <= 0 and self._engine_idle
                self._wanted = min(most - len(taken), self._missing(taken))
                if due or not self._wanted:
                    return taken
                self._some.wait(left if left > 0 else None)
            return []

    def engine_is(self, *, idle: bool) -> None:
        """Whether the engine has nothing to work on."""
        with self._some:
            self._engine_idle = idle
            self._some.notify()

    def depth(self, source: str | None = None) -> int:
        """How many frames wait, of one source or of all."""
        if source is not None:
            return len(self._queues[source])
        return sum(map(len, self._queues.values()))

    def close(self) -> None:
        """Wake everybody; what waits is forgotten."""
        with self._some:
            self._closed = True
            for name, queue in self._queues.items():
                queue.clear()
                self._room[name].notify()
            self._some.notify()

    def _move(self, taken: list[Captured], most: int) -> None:
        """Take waiting frames, one a source by turns."""
        names = list(self._queues)
        while len(taken) < most and self.depth():
            name = names[self._turn % len(names)]
            self._turn += 1
            if self._queues[name]:
                taken.append(self._queues[name].popleft())
                if self._has_room(name):
                    self._room[name].notify()

    def _has_room(self, source: str) -> bool:
        """Whether a reader that waits for room goes on: to read several frames, not to wait again.

        What remains, less than half of its queue, lasts until it has read.
        """
        return 2 * len(self._queues[source]) < self._bounds[source]

    def _missing(self, taken: list[Captured]) -> int:
        """How many sources that have no frame in the batch may send one soon."""
        there = {frame.source for frame in taken}
        return sum(name not in there and self._expected(name) for name in self._open)
