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
from runtime.engine import MODEL

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
    """

    kept: Candidate
    why: str
    candidates: Sequence[Candidate]
    model: Path
    session: tuple[str, bool]
    graphs: Sequence[KitGraph] = ()


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
    """Every graph that a device is to try; the first precision that was asked for stands for all.

    FP16 and FP32 hardly drift, so of "auto" that is INT8.
    """
    wanted = wanted_precisions(request.precision, target)
    precision = next(each for each in wanted if each in found.typed)
    graphs = lower_for_device(found.typed, wanted, gpu, writer)
    kept = Candidate(precision, target.backends[0], True)
    names = ", ".join(f"{graph.precision} {graph.form}" for graph in graphs)
    why = f"the device chooses among {len(graphs)} graphs: {names}"
    model = writer.path(f"{precision}-{gpu.attention[0]}.onnx")
    return Choice(kept, why, [], model, ("onnxruntime", True), graphs)
