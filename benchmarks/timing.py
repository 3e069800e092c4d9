"""Latency of engines in turn within one process, so that a drifting clock favours none."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.tables import markdown, paired_ratio
from export.answers import Arrays, Run
from runtime.errors import one_line

Times = dict[str, list[float]]


def opened(builders: Mapping[str, Callable[[], Run]], inputs: Arrays) -> tuple[dict, dict]:
    """Builds each engine and runs it once.

    Returns:
        Runs by name, and for those that failed the reason by name.
    """
    runs: dict[str, Run] = {}
    failed: dict[str, str] = {}
    for name, build in builders.items():
        try:
            run = build()
            run(inputs)
            runs[name] = run
        except Exception as error:  # other people's libraries raise anything; its row says what
            failed[name] = f"{type(error).__name__}: {one_line(error)}"
        gc.collect()
    return runs, failed


def measure(runs: Mapping[str, Run], inputs: Arrays, rounds: int) -> Times:
    """Milliseconds of every run, `rounds` times in turn.

    Each timed call follows an untimed one of the same engine: another library's threads keep
    spinning for a while after its call, and its data has taken the caches. The order alternates,
    so that no engine always follows the same other one.
    """
    times: Times = {name: [] for name in runs}
    for run in runs.values():
        run(inputs)
    order = list(runs.items())
    for _ in range(rounds):
        gc.collect()
        gc.disable()
        for name, run in order:
            run(inputs)
            start = time.perf_counter()
            run(inputs)
            times[name].append(1e3 * (time.perf_counter() - start))
        gc.enable()
        order.reverse()
    return times


def fastest(times: Times, names: Sequence[str]) -> str:
    """Which of `names` has the smallest median."""
    return min(names, key=lambda name: float(np.median(times[name])))


def latency_table(times: Times, base: str, failed: Mapping[str, str], ratio: str) -> str:
    """One row an engine, with its time over `base`'s.

    Args:
        times: milliseconds by engine.
        base: the engine that others are compared with.
        failed: engines without times, and why.
        ratio: heading of the last column.
    """
    rows = []
    for name, taken in times.items():
        p10, median, p90 = np.percentile(taken, [10, 50, 90])
        middle, low, high = paired_ratio(taken, times[base])
        against = "1" if name == base else f"{middle:.2f} ({low:.2f} to {high:.2f})"
        rows.append([name, f"{median:.1f}", f"{p10:.1f}", f"{p90:.1f}", against])
    rows += [[name, "failed", "", "", why.replace("|", "/")[:160]] for name, why in failed.items()]
    return markdown(["engine", "median ms", "p10", "p90", ratio], rows)
