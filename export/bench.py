"""Latency of a bundle, and the cost of the engine over its back end."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from runtime import Engine


def measure_bundle(bundle: Path, batches: list[int] | None, rounds: int) -> list[dict[str, Any]]:
    """Times `engine.infer` and the back end's own call in turn, on random frames.

    Args:
        bundle: folder of the bundle.
        batches: sizes; None takes 1 and the most frames that the engine infers at once.
        rounds: timed runs a batch size.

    Returns:
        One row a batch size: milliseconds, images per second, and the median difference to the
        back end's own call in microseconds.
    """
    rows = []
    with Engine.load(bundle) as engine:
        # One session serves both calls, so that no second thread pool competes with the first.
        manifest, session = engine.manifest, engine.session
        side = manifest.preprocess.crop or manifest.preprocess.size
        for batch in batches or sorted({1, engine.max_batch}):
            noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
            inputs = manifest.preprocess([noise] * batch).inputs
            first = manifest.inputs[0].name
            rest = {name: array for name, array in inputs.items() if name != first}
            engine_times, session_times = _interleaved(
                partial(engine.infer, inputs[first], **rest), partial(session.run, inputs), rounds
            )
            p10, median, p90 = np.percentile(engine_times, [10, 50, 90])
            rows.append(
                {
                    "batch": batch,
                    "median_ms": 1e3 * float(median),
                    "p10_ms": 1e3 * float(p10),
                    "p90_ms": 1e3 * float(p90),
                    "images_per_second": batch / float(median),
                    "overhead_us": 1e6 * float(np.median(np.subtract(engine_times, session_times))),
                }
            )
    return rows


def _interleaved(
    first: Callable[[], Any], second: Callable[[], Any], rounds: int
) -> tuple[list[float], list[float]]:
    calls, times = (first, second), ([], [])  # type: tuple[Any, Any], tuple[list[float], list[float]]
    for warm in range(rounds + 1):
        # The order alternates, so that neither always finds the caches as the other left them.
        for which in (0, 1) if warm % 2 else (1, 0):
            start = time.perf_counter()
            calls[which]()
            if warm:
                times[which].append(time.perf_counter() - start)
    return times
