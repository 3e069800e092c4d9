"""Frames of several sources in, predictions out, through one engine."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runtime.closing import Closing
from runtime.errors import EngineError, one_line
from runtime.observer import Observer, guarded, in_callback
from runtime.pipeline.result import Result
from runtime.pipeline.stages import Stages
from runtime.pipeline.stats import SourceStats, Tally
from runtime.pipeline.waiting import Waiting
from runtime.sources import Source, open_source
from runtime.sources.events import SourceEvent
from runtime.sources.reader import Captured, Reader

if TYPE_CHECKING:
    from runtime.engine import Engine

_log = logging.getLogger("vitrine.pipeline")
_READ_AHEAD = 4  # frames of a file that wait, at least
_CHECK_S = 0.1  # how often sources are looked at for stalls
_LEAVE_S = 1.0  # how long closing waits for the readers, which may hang in a camera's driver


class Pipeline(Closing):
    """Reads sources, puts their frames into batches, and gives predictions in order.

        with Engine.load(bundle) as engine, Pipeline(engine, {"door": "rtsp://…"}) as pipeline:
            for result in pipeline:
                print(result.source, result.frame_id, result.prediction)

    Each source is read by its own thread, so that none delays another. Of a camera, the newest
    frame is taken and older ones that still wait are dropped; a file waits until it is its turn.
    Reading, preprocessing, inference and postprocessing overlap. Whoever iterates slowly slows
    the engine, and cameras drop frames; memory does not grow.
    """

    def __init__(
        self,
        engine: Engine,
        sources: Mapping[str, Any] | Sequence[Any],
        *,
        max_batch: int | None = None,
        max_delay_ms: float = 5.0,
        threshold: float = 0.5,
        queue_size: int | None = None,
        stall_s: float = 10.0,
        reconnect_s: tuple[float, float] = (0.5, 30.0),
        observer: Observer | None = None,
    ) -> None:
        """Open the sources and begin to read.

        Args:
            engine: stays the caller's, who closes it after the pipeline and may reload it before.
            sources: what `open_source` takes, by name or in a row.
            max_batch: frames that are inferred together at most; None is what the engine takes.
            max_delay_ms: how long a frame waits for others at most. A batch does not wait when it
                is full, or has a frame of every source that is alive.
            threshold: the least score of a detected object.
            queue_size: frames of a source that wait at most. None is the newest one of a camera,
                and enough of files to fill a batch.
            stall_s: seconds without a frame after which a source counts as stalled.
            reconnect_s: the first and the longest delay before a lost source is connected again.
            observer: hears of frames, batches, stages and events.

        Raises:
            EngineError: a source cannot be what its text says, or needs a library that is missing.
            ValueError, TypeError: arguments that make no sense.
        """
        _check(engine, max_batch, max_delay_ms, queue_size, threshold)
        named = _named(sources)
        self._observer = guarded(observer)
        self._tallies = {name: Tally() for name in named}
        self._waiting = Waiting(
            _bounds(named, max_batch or engine.max_batch, queue_size),
            {name: source.live for name, source in named.items()},
            dropped=self._dropped,
            expected=lambda name: self._readers[name].state == "live",
        )
        self._stages = Stages(
            engine,
            self._waiting,
            {name: source.pixels for name, source in named.items()},
            self._unusable,
            self._observer,
            max_batch=max_batch,
            max_delay=max_delay_ms / 1000,
            threshold=threshold,
        )
        make = functools.partial(self._reader, stall_s, reconnect_s)
        self._readers = {name: make(source) for name, source in named.items()}
        self._closing = threading.Event()
        self._watch = threading.Thread(target=self._check, name="vitrine-watch", daemon=True)
        self._stages.start()
        self._watch.start()
        for reader in self._readers.values():
            reader.start()

    def __iter__(self) -> Iterator[Result]:
        """Results as they come, each source's in order, until all sources have ended or `close`.

        Raises:
            EngineError: the back end fails, or the engine's golden probes do.
        """
        for result, arrived in self._stages.results:
            self._tallies[result.source].delivered(arrived, result.latency_ms)
            self._observer.frame(result.source, "delivered")
            yield result
        if self._stages.error is not None:
            raise self._stages.error

    def stats(self) -> dict[str, SourceStats]:
        """What has happened to each source so far."""
        return {
            name: tally.stats(reader.state, reader.received, reader.corrupt)
            for (name, tally), reader in zip(
                self._tallies.items(), self._readers.values(), strict=True
            )
        }

    def close(self) -> None:
        """Stop reading and end every iteration; closing twice is harmless.

        A reader that hangs in a camera's driver is left behind after a second; it ends by itself
        once the driver returns. An observer that closes does not wait for what waits for it; close
        again, or leave the `with`, to have all of it ended.
        """
        self._closing.set()
        self._stages.stop()
        for name, reader in self._readers.items():
            if reader.state != "ended":
                self._tallies[name].detail = "closed"
            reader.stop(0.0)
        if in_callback():
            return
        self._stages.close()
        leave = time.monotonic() + _LEAVE_S
        for name, reader in self._readers.items():
            if not reader.stop(max(0.0, leave - time.monotonic())):
                _log.warning("source %s still hangs and is left behind", name)
        self._watch.join()

    def _reader(self, stall_s: float, backoff: tuple[float, float], source: Source) -> Reader:
        return Reader(
            source,
            self._deliver,
            self._report,
            stall_s=stall_s,
            backoff=backoff,
            unusable=functools.partial(self._observer.frame, source.name, "corrupt"),
        )

    def _check(self) -> None:
        """Look at the sources until all have ended."""
        while not self._closing.wait(_CHECK_S):
            for reader in self._readers.values():
                reader.check(time.monotonic())

    def _deliver(self, frame: Captured) -> bool:
        taken = self._waiting.put(frame)
        self._observer.queue(frame.source, self._waiting.depth(frame.source))
        return taken

    def _dropped(self, source: str) -> None:
        self._tallies[source].dropped()
        self._observer.frame(source, "dropped")

    def _unusable(self, frame: Captured, error: Exception) -> None:
        self._tallies[frame.source].unusable()
        self._observer.frame(frame.source, "corrupt")
        detail = f"frame {frame.frame_id}: {one_line(error)}"
        self._report(SourceEvent(frame.source, "corrupt", detail))

    def _report(self, event: SourceEvent) -> None:
        self._tallies[event.source].detail = event.detail
        self._observer.event(event)
        if event.kind == "ended":
            self._waiting.end(event.source)


def _check(
    engine: Engine,
    max_batch: int | None,
    max_delay_ms: float,
    queue_size: int | None,
    threshold: float,
) -> None:
    kind = engine.manifest.preprocess.kind
    if kind != "frames":
        raise EngineError(f"the engine takes {kind}, a pipeline gives frames; call it yourself")
    for name, value in (("max_batch", max_batch), ("queue_size", queue_size)):
        if value is not None and (type(value) is not int or value < 1):
            raise ValueError(f"{name} is {value!r}; give an integer of at least 1, or None")
    if not 0 <= max_delay_ms < float("inf"):
        raise ValueError(f"max_delay_ms is {max_delay_ms!r}; give milliseconds, 0 or more")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold!r}; give a score in 0..1")


def _bounds(
    sources: Mapping[str, Source], max_batch: int, queue_size: int | None
) -> dict[str, int]:
    """How many frames of each source may wait."""
    # Together a batch, while another is prepared; and some that are read at one go, since to wake
    # a reader for each takes as long as to decode a small frame.
    of_files = max(_READ_AHEAD, 1 + -(-max_batch // len(sources)))
    return {
        name: queue_size or (1 if source.live else of_files) for name, source in sources.items()
    }


def _named(sources: Mapping[str, Any] | Sequence[Any]) -> dict[str, Source]:
    """Opened sources by name."""
    if isinstance(sources, Mapping):
        if not all(isinstance(name, str) for name in sources):
            raise TypeError(f"sources are named {list(sources)}; give each a text as its name")
        named = {name: open_source(what, name=name) for name, what in sources.items()}
    elif isinstance(sources, str) or not isinstance(sources, Sequence):
        raise TypeError(f"sources is {sources!r}; give a mapping or a list of sources")
    else:
        opened = [open_source(what) for what in sources]
        named = {source.name: source for source in opened}
        if len(named) < len(opened):
            names = ", ".join(source.name for source in opened)
            raise ValueError(f"found sources {names}; give each a name of its own in a mapping")
    if not named:
        raise ValueError("found no sources; give at least one")
    return named
