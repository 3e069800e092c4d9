"""Latency of several sessions, measured in turn so that a drifting clock favours none."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.backends import Session

Inputs = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one batch.

    Attributes:
        batch: images in it.
        median: over the rounds.
        p10: tenth percentile.
        p90: ninetieth percentile.
        taken: the time of each round; in one measurement the sessions' rounds correspond.
    """

    batch: int
    median: float
    p10: float
    p90: float
    taken: tuple[float, ...]


def measure(
    sessions: Mapping[str, Session], inputs: Inputs, rounds: int = 15, seconds: float = 20.0
) -> dict[str, Latency]:
    """Times each session on the same batch, interleaved, after one warm-up run each.

    Args:
        sessions: by a name of the caller's choice.
        inputs: one batch.
        rounds: timed runs of each session, fewer when `seconds` are over first (at least 3).
        seconds: bound on the whole measurement.
    """
    for session in sessions.values():
        session.run(inputs)
    times: dict[str, list[float]] = {name: [] for name in sessions}
    end = time.perf_counter() + seconds
    for done in range(rounds):
        if done >= 3 and time.perf_counter() > end:
            break
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(inputs)
            times[name].append(1e3 * (time.perf_counter() - start))
    batch = len(next(iter(inputs.values())))
    return {name: _summary(batch, taken) for name, taken in times.items()}


def _summary(batch: int, taken: list[float]) -> Latency:
    p10, median, p90 = np.percentile(taken, [10, 50, 90])
    return Latency(batch, float(median), float(p10), float(p90), tuple(taken))
