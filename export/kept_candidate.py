"""The candidate that a build keeps, once the drift limits have a say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from engines.candidates import Candidate, choose
from export.calibration_limits import Judge, said
from runtime.backends import open_session


def choose_within_limits(
    candidates: Sequence[Candidate], graphs: Mapping[str, Path], judge: Judge | None
) -> tuple[Candidate, str, list[Candidate]]:
    """The fastest faithful candidate that keeps the limits.

    The search has seen to INT8, and FP32 is the reference. FP16 nearly always keeps its limits, so
    only one that would be kept is judged, in its own back end.

    Args:
        candidates: what was measured.
        graphs: typed ONNX files by precision.
        judge: of the limits; None where none are searched for.

    Returns:
        The candidate, why it was kept, and all of them: an FP16 over a limit has an obstacle.

    Raises:
        NoFaithfulEngineError: none is faithful.
    """
    found = list(candidates)
    while True:
        kept, why = choose(found)
        if judge is None or kept.precision != "fp16":
            return kept, why, found
        session = open_session(kept.backend, graphs["fp16"])
        try:
            broken = [figure for figure in judge.of(session.run) if not figure.holds]
        finally:
            session.close()
        if not broken:
            return kept, why, found
        found[found.index(kept)] = replace(kept, obstacle=f"over a limit: {said(broken)}")
