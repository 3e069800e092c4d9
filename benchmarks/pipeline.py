"""What a pipeline costs: throughput against the back end's own, and latency that it adds.

    python -m benchmarks.pipeline BUNDLE... [--streams 1 2] [--seconds 5] [--rounds 5] [--json FILE]

Throughput: eight video files of the model's input size are read, decoded, preprocessed, inferred
and postprocessed as fast as that goes; the baseline is the back end's own call on a full batch that
is ready in memory, of an engine as it is loaded by default. Both run in turn, so each round has
a ratio of its own. `--streams` says with how many the pipeline's engines are loaded.

Added latency: two cameras send a frame every 100 ms each (or ten times an inference, if that is
more), half a period apart, so that each frame waits for one that does not come. Added is what a
frame spends outside preprocessing, inference and postprocessing.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.tables import machine, markdown
from runtime import Engine, Pipeline
from runtime.observer import Observer
from runtime.sources import Source, open_source
from shapes.scene import several

FILES = 8
LOW_LOAD_S = 0.1  # between two frames of one camera, at least
DELAYS_MS = (0.0, 5.0, 20.0)
_LENGTH = 300  # frames of a video file


class Batches(Observer):
    """Sizes of batches."""

    def __init__(self) -> None:
        """Start with none."""
        self.sizes: list[int] = []

    def batch(self, size: int) -> None:
        """Keep it."""
        self.sizes.append(size)


class Stages(Observer):
    """Seconds of each frame in each stage, in the frames' order."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.seconds: dict[str, list[float]] = {}

    def stage(self, name: str, seconds: float) -> None:
        """Keep it."""
        self.seconds.setdefault(name, []).append(seconds)

    def added(self) -> list[float]:
        """Of each frame, milliseconds that are not work on it."""
        stages = (self.seconds[name] for name in ("total", "prepare", "infer", "postprocess"))
        # Frames whose results nobody waited for are in some stages only.
        return [1e3 * (total - sum(work)) for total, *work in zip(*stages, strict=False)]


def video(path: Path, height: int, width: int, seed: int) -> Path:
    """Encode rendered shapes as MPEG-4."""
    rng = np.random.default_rng(seed)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (width, height))
    pictures = [cv2.resize(several(rng).frame, (width, height)) for _ in range(10)]
    for picture in itertools.islice(itertools.cycle(pictures), _LENGTH):
        writer.write(picture[..., ::-1])
    writer.release()
    return path


def own_throughput(engine: Engine, frame: Any, seconds: float) -> float:
    """Frames a second of the back end's own call."""
    with engine.hold() as model:
        batch = model.manifest.preprocess([frame] * model.max_batch).inputs
        model.run(batch)
        began, count = time.perf_counter(), 0
        while (spent := time.perf_counter() - began) < seconds:
            model.run(batch)
            count += model.max_batch
    return count / spent


def pipeline_throughput(
    engine: Engine, files: list[Path], seconds: float
) -> tuple[float, list[int]]:
    """Frames a second from files to predictions, once the first batches are out; batch sizes."""
    batches = Batches()
    sources = {path.stem: _endless(path) for path in files}
    with Pipeline(engine, sources, observer=batches) as pipeline:
        results = iter(pipeline)
        for _ in range(4 * engine.max_batch):
            next(results)
        began, count = time.perf_counter(), 0
        while (spent := time.perf_counter() - began) < seconds:
            next(results)
            count += 1
    return count / spent, batches.sizes


def _endless(path: Path) -> Source:
    """A video file, again from its start at its end."""

    def connect() -> Iterator[Any]:
        while True:
            yield from open_source(path).connect()

    return Source(path.stem, connect, live=False, reconnect=False, pixels="BGR")


def added_latency(engine: Engine, frame: Any, delay_ms: float, frames: int) -> list[float]:
    """Milliseconds that a pipeline adds to each frame at low load."""
    began = time.perf_counter()
    engine([frame])
    period = max(LOW_LOAD_S, 10 * (time.perf_counter() - began))
    start = time.monotonic() + 1.0

    def camera(phase: float) -> Source:
        def connect() -> Iterator[Any]:
            for number in itertools.count():
                time.sleep(max(0.0, start + (number + phase) * period - time.monotonic()))
                yield frame

        return Source(f"camera {phase}", connect, live=True, reconnect=True)

    stages = Stages()
    sources = [camera(0.0), camera(0.5)]
    with Pipeline(engine, sources, max_delay_ms=delay_ms, observer=stages) as pipeline:
        for _ in itertools.islice(pipeline, frames):
            pass
    return stages.added()[4:]  # cameras that are not there yet are not waited for


def measure(
    bundle: Path, streams: Sequence[int], seconds: float, rounds: int, frames: int
) -> dict[str, Any]:
    """Both figures of one bundle."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        own_engine = stack.enter_context(Engine.load(bundle))
        engines = {
            n: stack.enter_context(Engine.load(bundle, streams=n, warm_up=True)) for n in streams
        }
        preprocess = own_engine.manifest.preprocess
        height, width = preprocess.image_size
        files = [video(folder / f"{i}.mp4", height, width, i) for i in range(FILES)]
        frame = cv2.resize(several(np.random.default_rng(0)).frame, (width, height))
        own = [own_throughput(own_engine, frame, seconds)]
        piped: dict[int, list[float]] = {n: [] for n in streams}
        ratios: dict[int, list[float]] = {n: [] for n in streams}
        batches: list[int] = []
        for _ in range(rounds):
            for n, engine in engines.items():
                rate, sizes = pipeline_throughput(engine, files, seconds)
                own.append(own_throughput(own_engine, frame, seconds))
                piped[n].append(rate)
                # Against the baseline before and after it, which drifts with the clock.
                ratios[n].append(rate / (0.5 * (own[-2] + own[-1])))
                batches += sizes
        latency = {
            str(delay): added_latency(own_engine, frame, delay, frames) for delay in DELAYS_MS
        }
    return {
        "bundle": bundle.name,
        "own": own,
        "pipeline": piped,
        "ratio": ratios,
        "mean_batch": statistics.mean(batches),
        "added_ms": latency,
    }


def show(rows: list[dict[str, Any]]) -> str:
    """Markdown tables."""
    throughput = [
        [
            f"{row['bundle']}, {n} streams",
            f"{statistics.median(row['own']):.1f}",
            f"{statistics.median(row['pipeline'][n]):.1f}",
            f"{statistics.median(ratios):.3f}",
            f"{min(ratios):.3f} to {max(ratios):.3f}",
            f"{row['mean_batch']:.2f}",
        ]
        for row in rows
        for n, ratios in row["ratio"].items()
    ]
    latency = [
        [
            f"{row['bundle']}, {delay} ms",
            str(len(added)),
            *(f"{np.percentile(added, p):.2f}" for p in (50, 99, 100)),
        ]
        for row in rows
        for delay, added in row["added_ms"].items()
    ]
    heads = ["bundle", "own, frames/s", "pipeline, frames/s", "ratio", "rounds", "mean batch"]
    late = ["bundle, max_delay_ms", "frames", "added p50, ms", "p99", "most"]
    return f"{markdown(heads, throughput)}\n\n{markdown(late, latency)}"


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=300, help="of each latency")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = [
        measure(path, given.streams, given.seconds, given.rounds, given.frames)
        for path in given.bundles
    ]
    print(machine(), "\n")
    print(show(rows))
    if given.json:
        record = {"machine": machine(), "bundles": rows}
        given.json.write_text(json.dumps(record, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
