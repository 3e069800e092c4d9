"""Measures every candidate engine and keeps the fastest faithful one.

A candidate is a typed graph in a back end. Which precision and which back end is best depends on
the processor, so nothing is assumed: faithfulness and latency are measured for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from engines import latency
from engines.faithfulness import Decisions, Faithfulness, Outputs, compare
from runtime import EngineError
from runtime.backends import Session, open_session

Inputs = Mapping[str, npt.NDArray[Any]]
Say = Callable[[str], None]


class NoFaithfulEngineError(EngineError):
    """No back end computes the graph as written; the message says how far each is off."""


@dataclass(frozen=True)
class Candidate:
    """A typed graph in a back end, and what was measured of it.

    Attributes:
        precision: "fp32", "fp16" or "int8".
        backend: as `runtime.backends.open_session` takes it.
        version: of the back end; empty when it could not load the graph.
        faithfulness: None when it could not load the graph.
        latency: by batch size.
        obstacle: why it may not be kept; empty when it may.
        wanted: whether the build asked for this precision, or measures it to compare only.
        form: of attention, where a graph was lowered to several.
    """

    precision: str
    backend: str
    wanted: bool
    version: str = ""
    faithfulness: Faithfulness | None = None
    latency: Mapping[int, latency.Latency] = field(default_factory=dict)
    obstacle: str = ""
    form: str = ""

    @property
    def name(self) -> str:
        """Precision, back end and form, as reports show it."""
        form = f" ({self.form})" if self.form else ""
        return f"{self.precision} on {self.backend}{form}"

    @property
    def milliseconds(self) -> float:
        """Geometric mean over the measured batch sizes of the time per image."""
        times = [math.log(t.median / t.batch) for t in self.latency.values()]
        return math.exp(sum(times) / len(times)) if times else math.inf


@dataclass(frozen=True)
class Probe:
    """What candidates are measured on.

    Attributes:
        images: inputs of one image each (batch axis 1), from the calibration set.
        reference: PyTorch's outputs for them, without the batch axis.
        batches: one batch for each batch size whose latency counts.
        decisions: of one image's outputs; see `faithfulness.compare`.
    """

    images: Sequence[Inputs]
    reference: Sequence[Outputs]
    batches: Sequence[Inputs]
    decisions: Decisions


def run_single(session: Session, images: Sequence[Inputs]) -> list[Outputs]:
    """Per-image outputs, without the batch axis."""
    return [{k: v[0] for k, v in session.run(image).items()} for image in images]


def measure_all(
    graphs: Mapping[str, Path],
    backends: Mapping[str, Sequence[str]],
    wanted: Sequence[str],
    probe: Probe,
    say: Say,
) -> list[Candidate]:
    """Measures every graph (by precision) in its back ends.

    Args:
        graphs: typed ONNX files by precision.
        backends: to try, by precision.
        wanted: precisions that may be kept; the others are measured for comparison.
        probe: images to measure on.
        say: told what is going on, a line at a time.
    """
    sessions: dict[str, Session] = {}
    candidates: list[Candidate] = []
    try:
        for precision, graph in graphs.items():
            say(f"checking {precision} engines against the graph's own semantics")
            with_semantics = _semantics(graph, probe)
            for backend in backends[precision]:
                candidate, session = _open(
                    precision, backend, precision in wanted, graph, with_semantics, probe
                )
                candidates.append(candidate)
                if session is not None:
                    sessions[candidate.name] = session
        say(f"measuring latency of {len(sessions)} candidates")
        times = [latency.measure(sessions, batch) for batch in probe.batches] if sessions else []
    finally:
        for session in sessions.values():
            session.close()
    return [with_latency(c, times) for c in candidates]


def choose(candidates: Sequence[Candidate]) -> tuple[Candidate, str]:
    """The fastest faithful candidate among the wanted, and why it was kept.

    Raises:
        NoFaithfulEngineError: none is faithful.
    """
    allowed = [c for c in candidates if c.wanted and not c.obstacle]
    if not allowed:
        found = "; ".join(f"{c.name}: {c.obstacle}" for c in candidates if c.wanted)
        raise NoFaithfulEngineError(
            f"no engine computes what its graph says: {found}; build with another --precision"
        )
    best = min(allowed, key=lambda c: c.milliseconds)
    why = f"{best.name}: fastest of {len(allowed)} faithful candidates"
    others = [c for c in candidates if c.precision != best.precision and not c.obstacle]
    if others:
        rival = min(others, key=lambda c: c.milliseconds)
        ratio = rival.milliseconds / best.milliseconds
        relation = f"{ratio:.2f} times as fast as" if ratio >= 1 else "SLOWER than"
        why += f", {relation} {rival.name}" + (f" ({1 / ratio:.2f} times)" if ratio < 1 else "")
    return best, why


def candidate_summary(candidate: Candidate) -> dict[str, Any]:
    """A candidate as commands print it."""
    times = {str(batch): taken.median for batch, taken in candidate.latency.items()}
    return {"name": candidate.name, "obstacle": candidate.obstacle, "latency_ms": times}


def candidate_record(candidate: Candidate) -> dict[str, Any]:
    """A candidate as a manifest keeps it."""
    faithfulness = candidate.faithfulness
    return {
        "precision": candidate.precision,
        "backend": candidate.backend,
        "form": candidate.form,
        "version": candidate.version,
        "obstacle": candidate.obstacle,
        "faithfulness": None if faithfulness is None else asdict(faithfulness),
        "latency_ms": [
            {
                "batch": times.batch,
                "median": times.median,
                "p10": times.p10,
                "p90": times.p90,
                "rounds": len(times.taken),
            }
            for times in candidate.latency.values()
        ],
    }


def _semantics(graph: Path, probe: Probe) -> list[Outputs]:
    session = open_session("onnxruntime", graph, faithful=True)
    try:
        return run_single(session, probe.images)
    finally:
        session.close()


def _open(
    precision: str,
    backend: str,
    wanted: bool,
    graph: Path,
    semantics: Sequence[Outputs],
    probe: Probe,
) -> tuple[Candidate, Session | None]:
    try:
        session = open_session(backend, graph)
    except EngineError as error:
        return Candidate(precision, backend, wanted, obstacle=str(error)), None
    if session.name != backend:
        session.close()
        obstacle = f"is {session.name} on this processor"
        return Candidate(precision, backend, wanted, obstacle=obstacle), None
    try:
        close_to = compare(
            run_single(session, probe.images), semantics, probe.reference, probe.decisions
        )
    except EngineError as error:
        session.close()
        return Candidate(precision, backend, wanted, obstacle=str(error)), None
    candidate = Candidate(
        precision, backend, wanted, session.version, close_to, {}, close_to.obstacle
    )
    return candidate, session


def with_latency(candidate: Candidate, times: Sequence[Mapping[str, latency.Latency]]) -> Candidate:
    """A candidate with its share of measurements, one a batch size, by candidates' names."""
    taken = {t[candidate.name].batch: t[candidate.name] for t in times if candidate.name in t}
    return replace(candidate, latency=taken)
