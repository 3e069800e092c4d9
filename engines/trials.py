"""The engines of a kit on this device: each proved on the golden probes, then timed in turn."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engines import latency
from engines.candidates import Candidate, with_latency
from engines.kit import Kit, KitGraph
from engines.tensorrt import Plan
from engines.trt.installation import Installed
from runtime.backends import Session, open_session
from runtime.backends.tensorrt_machine import this_platform
from runtime.errors import EngineError
from runtime.golden import Golden, check
from runtime.manifest import EngineInfo


@dataclass(frozen=True)
class Trial:
    """One graph of a kit in a back end.

    Attributes:
        graph: the graph.
        candidate: what was measured of it, with the reason where it may not be kept.
        model: what the back end opens: a plan or the graph itself; None where there is none.
        engine: what a manifest says of it.
        plan: how it was built, by TensorRT.
        plugins: libraries that the plan needs.
    """

    graph: KitGraph
    candidate: Candidate
    model: Path | None = None
    engine: EngineInfo | None = None
    plan: Plan | None = None
    plugins: tuple[Path, ...] = ()


def engine_info(
    backend: str, here: Installed, version: str, options: frozenset[str] = frozenset()
) -> EngineInfo:
    """What a manifest says of an engine that was built here with these options."""
    return EngineInfo(
        backend, version, here.device, here.compute_capability, this_platform(),
        tuple(sorted(options)),
    )  # fmt: skip


def proved(
    trials: Sequence[Trial],
    kit: Kit,
    golden: Golden,
    say: Callable[[str], None],
) -> list[Trial]:
    """The trials with an obstacle where a golden probe failed, and latencies of the others.

    Args:
        trials: engines that are built, and graphs that could not be.
        kit: whose limit the probes must keep, and whose batch sizes are timed.
        golden: the probes.
        say: told what is going on.
    """
    found: list[Trial] = []
    with contextlib.ExitStack() as closing:
        sessions: dict[str, Session] = {}
        for trial in trials:
            name = trial.candidate.name
            if trial.model is not None:
                say(f"{name}: running {len(golden.items)} golden probes")
                try:
                    session = _open(trial, trial.model)
                    closing.callback(session.close)
                    check(session.run, kit.manifest.preprocess, golden, _limit(kit, trial.graph))
                    sessions[name] = session
                except EngineError as error:
                    candidate = replace(trial.candidate, obstacle=str(error))
                    trial = replace(trial, candidate=candidate)
            found.append(trial)
        times = _times(sessions, kit, golden, say) if sessions else []
    return [replace(t, candidate=with_latency(t.candidate, times)) for t in found]


def _limit(kit: Kit, graph: KitGraph) -> float:
    """Of a precision that is only compared there is no evidence; the kit's own limit will do."""
    evidence = kit.evidence.get(graph.measured_as)
    return kit.manifest.golden.min_cosine if evidence is None else evidence.min_cosine


def _open(trial: Trial, model: Path) -> Session:
    return open_session(
        trial.candidate.backend, model, plugins=trial.plugins, built_for=trial.engine
    )


def _times(
    sessions: Mapping[str, Session], kit: Kit, golden: Golden, say: Callable[[str], None]
) -> list[Mapping[str, latency.Latency]]:
    """One measurement a batch size, by the candidate's name."""
    say(f"measuring latency of {len(sessions)} engines")
    inputs = kit.manifest.preprocess([golden.items[0]]).inputs
    batches = (
        {name: array[:1].repeat(size, axis=0) for name, array in inputs.items()}
        for size in kit.batches
    )
    return [latency.measure(sessions, batch) for batch in batches]
