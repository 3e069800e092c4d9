"""The refusal of an INT8 engine that is slower than a float one."""

from __future__ import annotations

from collections.abc import Sequence

from engines.candidates import Candidate
from engines.sign_test import tail
from runtime import EngineError

LEAST_GAIN = 0.03
CHANCE = 0.05


class RefusedError(EngineError):
    """A build's no: what was asked for can be built, and should not be."""


def faster_float(kept: Candidate, candidates: Sequence[Candidate]) -> str:
    """Why an INT8 engine is refused in favour of a float one; empty when it is not.

    A float candidate is faster when it takes over 3 % less time (geometric mean over batch
    sizes), and also won so many of the paired rounds, in which both ran one after the other, that
    equal engines would do so in fewer than 5 of 100 measurements (sign test).
    """
    floats = [c for c in candidates if c.precision != "int8" and not c.obstacle and c.latency]
    if kept.precision != "int8" or not kept.latency or not floats:
        return ""
    rival = min(floats, key=lambda c: c.milliseconds)
    won, rounds = _won(rival, kept)
    if rival.milliseconds > (1 - LEAST_GAIN) * kept.milliseconds or tail(won, rounds) >= CHANCE:
        return ""
    return (
        f"{kept.name} takes {kept.milliseconds:.2f} ms an image and {rival.name} "
        f"{rival.milliseconds:.2f} ms, which was faster in {won} of {rounds} paired rounds; build "
        f"--precision {rival.precision} or auto, or pass --keep-slower"
    )


def _won(left: Candidate, right: Candidate) -> tuple[int, int]:
    """In how many paired rounds, of all batch sizes, `left` was faster; and all of them."""
    pairs = [
        (a, b)
        for batch in left.latency
        for a, b in zip(left.latency[batch].taken, right.latency[batch].taken, strict=True)
    ]
    return sum(a < b for a, b in pairs), len(pairs)
