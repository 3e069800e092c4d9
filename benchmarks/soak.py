"""Weeks of bad cameras in minutes: does a pipeline lose, mix up or leak anything?

    python -m benchmarks.soak BUNDLE [--seconds 1800] [--seed 0] [--json FILE]

Eight sources stall, die, come back, change size and send what is no frame, at random from a seed.
Each good frame is one of a few pictures whose prediction is known, and its place in the source's
own order is known, so that every result is checked: right source, right picture, in order. At the
end what was received must have been delivered, dropped for a newer frame, or refused. Memory,
threads and file handles are watched while it runs and after it has closed.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import random
import statistics
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tables import machine
from runtime import Engine, Pipeline
from runtime.errors import EngineError
from runtime.pipeline import Result
from runtime.preprocess import Frame
from runtime.sources import Source
from runtime.tasks.classification import Classification
from shapes.datasets.classification import classification_image

SOURCES = 8
_PICTURES = 32
_NO_FRAME = -1
_SAMPLE_S = 1.0
_SETTLE_S = 20.0
MOST_GROWTH = 0.02
"""Share of resident memory; what the allocator keeps moves by less."""


@dataclasses.dataclass
class Report:
    """What happened; `faults` is empty when all is well.

    Attributes:
        memory_growth: of resident memory from after warming up to the end, as a share.
    """

    seconds: float
    received: int = 0
    delivered: int = 0
    dropped: int = 0
    corrupt: int = 0
    connections: int = 0
    memory_mib: float = 0.0
    memory_growth: float = 0.0
    faults: list[str] = dataclasses.field(default_factory=list)


class BadCamera:
    """A source of known pictures that misbehaves.

    Attributes:
        sent: which picture was sent as which frame, by frame id; -1 where it was no frame. A byte
            each, as a list would grow by megabytes in half an hour.
    """

    def __init__(self, name: str, pictures: list[Frame], seed: int) -> None:
        """Choose everything from `seed`."""
        self.name, self._pictures, self._chance = name, pictures, random.Random(seed)
        self.sent = array("b")
        self.connections = 0
        self.stopping = threading.Event()

    def source(self) -> Source:
        """As a camera that is connected again whenever it is lost."""
        return Source(self.name, self._connect, live=True, reconnect=True)

    def _connect(self) -> Iterator[Any]:
        self.connections += 1
        chance = self._chance
        if chance.random() < 0.2:
            raise EngineError("connection refused")
        for _ in range(chance.randint(1, 200)):
            if self.stopping.wait(chance.expovariate(60.0)):
                return
            event = chance.random()
            if event < 0.01:
                raise OSError("connection reset")
            if event < 0.015:
                self.stopping.wait(chance.uniform(0.3, 1.5))  # a stall
            if event < 0.06:
                self.sent.append(_NO_FRAME)
                yield chance.choice([None, "text", np.zeros((3, 4)), EngineError("no picture")])
            else:
                index = chance.randrange(len(self._pictures))
                self.sent.append(index)
                yield self._pictures[index]


def soak(bundle: Path, seconds: float, seed: int) -> Report:
    """Run for so long; see the module."""
    report = Report(seconds)
    Engine.load(bundle, warm_up=True).close()  # the libraries keep a pool of threads for good
    before = {"threads": _threads(), "file handles": _handles()}
    with Engine.load(bundle, warm_up=True) as engine:
        pictures, expected = _pictures(engine)
        cameras = [BadCamera(f"camera {i}", pictures, 1000 * seed + i) for i in range(SOURCES)]
        sources = [camera.source() for camera in cameras]
        checked = {camera.name: Checked(camera, expected) for camera in cameras}
        options: dict[str, Any] = {"stall_s": 0.25, "reconnect_s": (0.05, 0.5)}
        with Pipeline(engine, sources, **options) as pipeline:
            consumer = threading.Thread(target=_consume, args=(pipeline, checked, report.faults))
            consumer.start()
            memory = _watch_memory(seconds)
            for camera in cameras:
                camera.stopping.set()
            _settle(pipeline, report)
        consumer.join()
    report.connections = sum(camera.connections for camera in cameras)
    _compare_memory(memory, report)
    gc.collect()
    for what, count in {"threads": _threads(), "file handles": _handles()}.items():
        if count > before[what]:
            report.faults.append(f"{count - before[what]} {what} are left")
    return report


class Checked:
    """Compares results of one source with what it sent."""

    def __init__(self, camera: BadCamera, expected: list[str]) -> None:
        """Expect these labels, by picture."""
        self._camera, self._expected, self._newest = camera, expected, -1

    def fault(self, result: Result) -> str:
        """What is wrong with a result; empty when nothing is."""
        if result.frame_id <= self._newest:
            return f"{result.source}: frame {result.frame_id} came after {self._newest}"
        self._newest = result.frame_id
        index = self._camera.sent[result.frame_id]
        if index == _NO_FRAME:
            return f"{result.source}: frame {result.frame_id} was none, but has a prediction"
        if _label(result.prediction) != self._expected[index]:
            return f"{result.source}: frame {result.frame_id} has another picture's prediction"
        return ""


def _consume(pipeline: Pipeline, checked: dict[str, Checked], faults: list[str]) -> None:
    for result in pipeline:
        fault = checked[result.source].fault(result)
        if fault:
            faults.append(fault)


def _watch_memory(seconds: float) -> list[int]:
    """Bytes of resident memory, every second."""
    ends, samples = time.monotonic() + seconds, []
    while time.monotonic() < ends:
        samples.append(_resident())
        time.sleep(_SAMPLE_S)
    return samples


def _settle(pipeline: Pipeline, report: Report) -> None:
    """Wait until nothing is on its way, and add up what became of every frame."""
    patience = time.monotonic() + _SETTLE_S
    while True:
        stats = pipeline.stats().values()
        for name in ("received", "delivered", "dropped", "corrupt"):
            setattr(report, name, sum(getattr(source, name) for source in stats))
        lost = report.received - report.delivered - report.dropped - report.corrupt
        if not lost:
            return
        if time.monotonic() > patience:
            report.faults.append(f"{lost} frames are unaccounted for")
            return
        time.sleep(0.1)


def _compare_memory(samples: list[int], report: Report) -> None:
    """The last fifth of the time against the fifth after warming up."""
    fifth = max(1, len(samples) // 5)
    early, late = statistics.median(samples[fifth : 2 * fifth]), statistics.median(samples[-fifth:])
    report.memory_mib, report.memory_growth = late / 2**20, late / early - 1
    if report.memory_growth > MOST_GROWTH:
        report.faults.append(f"memory grew by {report.memory_growth:.1%}")


def _pictures(engine: Engine) -> tuple[list[Frame], list[str]]:
    """Pictures and their labels, of which the engine is sure in whatever batch."""
    if engine.manifest.task != "classification":
        raise EngineError(f"found a bundle for {engine.manifest.task}, expected classification")
    frames = [classification_image(5, index).frame for index in range(4 * _PICTURES)]
    sure = [
        (frame, _label(prediction))
        for frame, prediction in zip(frames, engine(frames), strict=True)
        if isinstance(prediction, Classification) and prediction.top[0].probability > 0.9
    ]
    return [frame for frame, _ in sure[:_PICTURES]], [label for _, label in sure[:_PICTURES]]


def _label(prediction: Any) -> str:
    return str(prediction.top[0].label)


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))  # native ones too


def _handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def main() -> None:
    """Parse arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    report = soak(given.bundle, given.seconds, given.seed)
    text = json.dumps(dataclasses.asdict(report), indent=1)
    print(f"{machine()}\n{text}")
    if given.json:
        given.json.write_text(text, encoding="utf-8")
    sys.exit(bool(report.faults))


if __name__ == "__main__":
    main()
