"""From waiting frames to results: preparing, inferring and postprocessing overlap."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy.typing as npt

from runtime.batch import Batch, Prepared
from runtime.model import Model
from runtime.observer import Observer
from runtime.pipeline.channel import Channel
from runtime.pipeline.result import Result
from runtime.pipeline.waiting import Waiting
from runtime.sources.reader import Captured
from runtime.tasks import Prediction

if TYPE_CHECKING:
    from runtime.engine import Engine

Unusable = Callable[[Captured, Exception], None]
Outputs = Mapping[str, npt.NDArray[Any]]


class Work(NamedTuple):
    """A batch and the model that it was made for, which is held until its results are out."""

    model: Model
    frames: Sequence[Captured]
    batch: Batch


class Stages:
    """One batch is prepared while others are inferred, each in a stream of the engine.

    Attributes:
        results: what comes out, each with the moment when its frame arrived on the monotonic
            clock; closed at the end.
        error: what ended the stages early.
    """

    def __init__(
        self,
        engine: Engine,
        waiting: Waiting,
        pixels: Mapping[str, str],
        unusable: Unusable,
        observer: Observer,
        *,
        max_batch: int | None,
        max_delay: float,
        threshold: float,
    ) -> None:
        """Make the stages; `start` starts them.

        Args:
            pixels: the format of each source's frames.
            unusable: told of each frame that preprocessing refuses.
            max_batch: None, or more than the engine takes, is the most that it takes.
            max_delay: in seconds; see `Waiting.take`.
        """
        self._engine, self._waiting, self._observer = engine, waiting, observer
        self._pixels, self._unusable = pixels, unusable
        self._max_batch, self._max_delay, self._threshold = max_batch, max_delay, threshold
        self._callers = engine.callers
        self._pool = ThreadPoolExecutor(self._callers, thread_name_prefix="vitrine-infer")
        # One for each stream, and one for the batch that is ready when a stream is done.
        self._places = threading.Semaphore(self._callers + 1)
        self._in_work = 0  # batches that are inferred or wait for it
        self._counting = threading.Lock()
        self._inferred: Channel[tuple[Work, Future[Outputs]]] = Channel(self._callers + 1)
        self.results: Channel[tuple[Result, float]] = Channel(1)
        self.error: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._run, args=stage, name="vitrine-stage", daemon=True)
            for stage in ((self._prepare, self._inferred), (self._give, self.results))
        ]

    def start(self) -> None:
        """Start every stage."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop after the batches that are in work, whose results are not given out."""
        self.stop()
        for thread in self._threads:
            thread.join()
        self._pool.shutdown()
        for work, _ in self._inferred.drain():
            work.model.release()

    def stop(self) -> None:
        """As `close`, without waiting and hence without freeing anything."""
        self._take_no_more()
        self.results.close()

    def _run(self, loop: Callable[[], None], output: Channel[Any]) -> None:
        """Run a stage. What follows it ends after it; after an error everything does."""
        try:
            loop()
        except BaseException as error:  # a library's panic is none of `Exception`
            self.error = self.error or error
            self._take_no_more()
        finally:
            output.close()

    def _take_no_more(self) -> None:
        self._waiting.close()
        self._inferred.close()
        self._places.release()  # so that nobody waits for one

    def _prepare(self) -> None:
        while frames := self._newest_frames():
            began = time.monotonic()
            for frame in frames:
                self._observer.stage("wait", began - frame.arrived)
                self._observer.queue(frame.source, self._waiting.depth(frame.source))
            with self._engine.hold() as model:
                for work in self._batches(model, frames):
                    self._timed("prepare", began, work)
                    if not self._submit(work):
                        return
                    began = time.monotonic()

    def _newest_frames(self) -> list[Captured]:
        """Frames for the next batch, taken no sooner than there is a place for it."""
        with self._places:
            pass  # only this thread takes places, so there is still one afterwards
        most = self._engine.max_batch
        return self._waiting.take(min(self._max_batch or most, most), self._max_delay)

    def _submit(self, work: Work) -> bool:
        """Infer a batch once a stream is free; False when nobody wants it any more."""
        self._places.acquire()
        work.model.hold()
        self._count(1)
        future = self._pool.submit(self._infer, work)
        if self._inferred.put((work, future)):
            return True
        future.add_done_callback(lambda _: work.model.release())
        return False

    def _infer(self, work: Work) -> Outputs:
        self._observer.batch(len(work.frames))
        began = time.monotonic()
        try:
            return work.model.run_all(work.batch.inputs)
        finally:
            self._timed("infer", began, work)
            self._count(-1)
            self._places.release()

    def _count(self, change: int) -> None:
        with self._counting:
            self._in_work += change
            self._waiting.engine_is(idle=self._in_work < self._callers)

    def _give(self) -> None:
        for work, future in self._inferred:
            with work.model as model:
                outputs = future.result()
                began = time.monotonic()
                predictions = model.predictions(outputs, work.batch, self._threshold)
            now = time.monotonic()
            self._timed("postprocess", began, work)
            results = [
                (self._result(frame, prediction, now), frame.arrived)
                for frame, prediction in zip(work.frames, predictions, strict=True)
            ]
            if not self.results.put(*results):
                return

    def _result(self, frame: Captured, prediction: Prediction, now: float) -> Result:
        seconds = now - frame.arrived
        self._observer.stage("total", seconds)
        return Result(
            source=frame.source,
            frame_id=frame.frame_id,
            captured=frame.captured,
            latency_ms=1000 * seconds,
            prediction=prediction,
            frame=frame.frame,
            pixels=self._pixels[frame.source],
        )

    def _batches(self, model: Model, frames: Sequence[Captured]) -> Iterator[Work]:
        """Batches of frames of one prepared size (see `Model.predict`), each source's in order.

        The frames may be more than the model takes: it may be newer than their number.
        """
        preprocess = model.manifest.preprocess
        groups: list[tuple[tuple[int, ...], list[Captured], list[Prepared]]] = []
        newest: dict[str, int] = {}  # by source, the group that its latest frame is in
        for frame in frames:
            try:
                prepared = preprocess.prepare(frame.frame, self._pixels[frame.source])
            except (ValueError, TypeError) as error:
                self._unusable(frame, error)
                continue
            shape = prepared.images.shape[1:]
            first = newest.get(frame.source, 0)
            fitting = (
                i
                for i, (of, together, _) in enumerate(groups)
                if i >= first and of == shape and len(together) < model.max_batch
            )
            index = next(fitting, len(groups))
            if index == len(groups):
                groups.append((shape, [], []))
            newest[frame.source] = index
            groups[index][1].append(frame)
            groups[index][2].append(prepared)
        for _, together, images in groups:
            yield Work(model, together, preprocess.collate(images))

    def _timed(self, stage: str, began: float, work: Work) -> None:
        seconds = time.monotonic() - began
        for _ in work.frames:
            self._observer.stage(stage, seconds)
