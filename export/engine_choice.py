"""Which engine a build keeps: measured here, or left to the device with all that it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from engines.bundle_writer import BundleWriter
from engines.candidates import Candidate, Probe, measure_all
from engines.kit import KitGraph
from engines.targets import Gpu, Target
from export.device_kit import lower_for_device
from export.kept_candidate import choose_within_limits
from export.lowering.cpu import lowered
from export.request import Request
from export.typed_graphs import Graphs, wanted_precisions
from runtime.loading import MODEL

Say = Callable[[str], None]


@dataclass(frozen=True)
class Choice:
    """The engine that a build keeps, or what a kit leaves to its device.

    Attributes:
        kept: the candidate; of a kit one whose engine is still to be built.
        why: why it was kept.
        candidates: everything that was measured.
        model: its graph, in the bundle.
        session: back end in which its drift is measured, and whether as written.
        graphs: of a kit.
        others: of a kit, graphs whose drift is their own, as `model`'s is, and that may be kept.
    """

    kept: Candidate
    why: str
    candidates: Sequence[Candidate]
    model: Path
    session: tuple[str, bool]
    graphs: Sequence[KitGraph] = ()
    others: Sequence[KitGraph] = ()


def measured(
    request: Request, found: Graphs, target: Target, probe: Probe, writer: BundleWriter, say: Say
) -> Choice:
    """The fastest faithful engine of this machine."""
    graphs = {}
    for precision, graph in found.typed.items():
        graphs[precision] = writer.path(f"{precision}.onnx")
        ir.save(lowered(graph.model), graphs[precision])
    backends = {precision: target.backends_for(precision) for precision in graphs}
    wanted = wanted_precisions(request.precision, target)
    candidates = measure_all(graphs, backends, wanted, probe, say)
    candidates += [
        Candidate(precision, "any back end", True, obstacle=why)
        for precision, why in found.dropped.items()
    ]
    kept, why, candidates = choose_within_limits(candidates, graphs, found.judge)
    model = writer.path(MODEL)
    for precision, file in graphs.items():
        file.rename(model) if precision == kept.precision else file.unlink()
    return Choice(kept, why, candidates, model, (kept.backend, False))


def for_device(
    request: Request, found: Graphs, target: Target, gpu: Gpu, writer: BundleWriter
) -> Choice:
    """Every graph that a device is to try; the first of the wanted precisions is the main one."""
    wanted = wanted_precisions(request.precision, target)
    graphs = lower_for_device(found.typed, found.int8_attention, wanted, gpu, writer)
    alike: dict[str, KitGraph] = {}
    for graph in graphs:
        if graph.wanted:
            alike.setdefault(graph.measured_as, graph)
    main, *others = alike.values()
    kept = Candidate(main.precision, target.backends[0], True)
    names = ", ".join(f"{g.precision} {g.form}" for g in graphs if g.wanted)
    compared = ", ".join(f"{g.precision} {g.form}" for g in graphs if not g.wanted)
    why = f"left to the device: {names}" + (f"; compared with {compared}" if compared else "")
    dropped = [
        Candidate(precision, target.backends[0], True, obstacle=reason)
        for precision, reason in found.dropped.items()
    ]
    return Choice(kept, why, dropped, writer.path(main.file), ("onnxruntime", True), graphs, others)
