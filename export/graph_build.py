"""One graph, stage by stage: PyTorch -> portable ONNX -> typed graphs -> engine -> bundle."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engines.bundle_writer import BundleWriter
from engines.candidates import Candidate, Probe
from engines.kit import Evidence
from engines.refusal import faster_float
from engines.targets import Target
from export.answers import Runner, SingleImages, comparable, truths
from export.bundle_contents import (
    PROBES,
    describe,
    drift_record,
    golden_limit,
    processor,
    write_golden,
)
from export.device_kit import KIT_PROBES, kit_of
from export.engine_choice import Choice, for_device, measured
from export.fallbacks import find_fallbacks
from export.outcome import Built
from export.parts import torch_runner
from export.precision_file import PRECISION_MAP, precision_map_text
from export.report_contents import write_bundle_report
from export.request import Request
from export.samples import Sample, Split
from export.sizes import check_graph
from export.to_onnx import example_inputs, onnx_from_module
from export.typed_graphs import typed_graphs
from export.weights import Reference
from runtime.backends import Session, open_session
from runtime.drift.measure import measure
from runtime.drift.verdict import DriftReport
from runtime.golden import Golden
from runtime.manifest import EngineInfo, GoldenInfo
from runtime.tasks import Answer, find_task
from runtime.tasks.task import Graph

# Faithfulness is a property of the graph, so a few real images show it.
_FAITHFUL_IMAGES = 32


@dataclass(frozen=True)
class Job:
    """What is to be built of what, into which bundle.

    Attributes:
        say: told what is going on.
    """

    request: Request
    reference: Reference
    images: Split
    writer: BundleWriter
    target: Target
    say: Callable[[str], None]


def build_graph(job: Job, parts: Mapping[str, Built] | None = None) -> Built:
    """Runs every stage for the main graph of a record, and writes its bundle.

    Args:
        job: what is to be built.
        parts: what came out of its parts, which lie in its bundle already.

    Raises:
        ValueError, EngineError: a mistake in the request, in one line.
    """
    request, reference, images, writer = job.request, job.reference, job.images, job.writer
    spec, family, parts = request.spec, request.spec.exported, parts or {}
    job.say("exporting to ONNX")
    portable = onnx_from_module(reference.module, family, example_inputs(reference.preprocess))
    check_graph(spec.name, portable)
    judged = images.calibration
    images = replace(images, calibration=_with_state(job, judged))
    found = typed_graphs(request, portable, reference, images, judged, job.target, job.say)
    runner = torch_runner(spec, reference)
    run = runner.graph.run
    if job.target.gpu is None:
        probe = _probe(images, reference, run, spec.task)
        choice = measured(request, found, job.target, probe, writer, job.say)
    else:
        choice = for_device(request, found, job.target, job.target.gpu, writer)

    kept, (backend, faithful) = choice.kept, choice.session
    measured_name = f"the {kept.precision} graph as written" if choice.graphs else kept.name
    job.say(f"measuring drift of {measured_name} on {len(images.held_out)} images")
    probes = PROBES if job.target.gpu is None else KIT_PROBES
    probed = _with_state(job, images.held_out[:probes])[:probes]
    golden = write_golden(writer, reference, probed, run)
    gate = _Gate(job, runner, runner.answers(images.held_out), golden, parts)
    ours, drift, limit = gate.judge(kept, open_session(backend, choice.model, faithful=faithful))
    refused = _refusal(request, choice, drift, parts)
    built = Built(
        writer.folder, refused, kept, choice.why, choice.candidates, drift, images, reference,
        found, choice.model.name, choice.session, parts,
    )  # fmt: skip
    info = GoldenInfo(limit, len(golden.items))
    engine = _engine(job, choice, golden, limit)
    chosen = found.typed[kept.precision]
    manifest = describe(request, built, chosen, info, choice.model, engine)
    _write_extras(job, built, choice, gate.theirs, ours)
    if refused:
        return replace(built, bundle=writer.reject())
    if choice.graphs:
        evidence = {kept.precision: Evidence(manifest.drift, limit)} | gate.of_others(choice)
        kit = kit_of(manifest, choice.graphs, evidence, request.max_batch, writer)
        return replace(built, bundle=kit)
    return replace(built, bundle=writer.finish(manifest))


def _with_state(job: Job, samples: Sequence[Sample]) -> Sequence[Sample]:
    more = job.request.spec.exported.with_state
    return samples if more is None else more(job.reference, samples)


@dataclass(frozen=True)
class _Gate:
    """Drift of graphs from PyTorch's answers on the held-out images."""

    job: Job
    runner: Runner
    theirs: Sequence[Answer]
    golden: Golden
    parts: Mapping[str, Built]

    def judge(
        self, candidate: Candidate, session: Session
    ) -> tuple[list[Answer], DriftReport, float]:
        """Answers of a session, their drift, and what golden probes must reach elsewhere."""
        with contextlib.closing(session), _opened(self.parts) as graphs:
            graph = self.runner.graph._replace(run=session.run)
            ours = replace(self.runner, graph=graph, parts=graphs)
            found = ours.answers(self.job.images.held_out)
            drift = _drift(self.job, candidate, self.theirs, found)
            return found, drift, golden_limit(self.golden, self.job.reference, session)

    def of_others(self, choice: Choice) -> dict[str, Evidence]:
        """Of those graphs of a kit that may be kept instead of the main one."""
        backend, faithful = choice.session
        found = {}
        for graph in choice.others:
            self.job.say(f"measuring drift of the {graph.measured_as} graph as written")
            file = self.job.writer.path(graph.file)
            session = open_session(backend, file, faithful=faithful)
            _, drift, limit = self.judge(replace(choice.kept, precision=graph.precision), session)
            evidence = Evidence(drift_record(drift, self.job.images), limit)
            found[graph.measured_as] = evidence
        return found


@contextlib.contextmanager
def _opened(parts: Mapping[str, Built]) -> Iterator[dict[str, Graph]]:
    """Every part as it was built."""
    with contextlib.ExitStack() as stack:
        yield {
            name: Graph(
                stack.enter_context(contextlib.closing(part.open())).run,
                part.reference.preprocess,
            )
            for name, part in parts.items()
        }


def _write_extras(
    job: Job, built: Built, choice: Choice, theirs: Sequence[Answer], ours: Sequence[Answer]
) -> None:
    """Writes the precision map, the files of the preprocessing and the reports."""
    chosen = built.graphs.typed[built.kept.precision]
    if chosen.precision_map:
        text = precision_map_text(job.request.spec.name, chosen.precision_map)
        job.writer.path(PRECISION_MAP).write_text(text, encoding="utf-8")
    for name, contents in job.reference.preprocess.files.items():
        job.writer.path(name).write_bytes(contents)
    write_bundle_report(job.writer, job.request, built, chosen, theirs, ours, choice.model)


def _refusal(
    request: Request, choice: Choice, drift: DriftReport, parts: Mapping[str, Built]
) -> str:
    """Why a build is refused; empty when it is not."""
    reasons = [f"part {name}: {part.refused}" for name, part in parts.items() if part.refused]
    reasons += ["drift is over its limit"] if drift.verdict == "fail" else []
    if request.precision == "int8" and not request.keep_slower:
        reasons += filter(None, [faster_float(choice.kept, choice.candidates)])
    return "; ".join(reasons)


def _engine(job: Job, choice: Choice, golden: Golden, limit: float) -> EngineInfo:
    """The engine of this machine, or the one that a device has yet to build."""
    kept, target = choice.kept, job.target
    if target.gpu is not None:
        return EngineInfo(kept.backend, "", target.device, target.gpu.compute_capability)
    others = find_fallbacks(choice, golden, job.reference.preprocess, limit)
    return EngineInfo(kept.backend, kept.version, processor(), fallbacks=others)


def _probe(images: Split, reference: Reference, run: Any, task: str) -> Probe:
    every = SingleImages(images.calibration, reference.preprocess)
    singles = list(itertools.islice(every, _FAITHFUL_IMAGES))
    outputs = [{k: np.array(v[0]) for k, v in run(single).items()} for single in singles]
    sizes = (1,) if reference.preprocess.pad else (1, 8)
    batches = [{k: v.repeat(size, axis=0) for k, v in singles[0].items()} for size in sizes]
    return Probe(singles, outputs, batches, find_task(task).decisions)


def _drift(
    job: Job, kept: Candidate, theirs: Sequence[Answer], ours: Sequence[Answer]
) -> DriftReport:
    spec, reference = job.request.spec, job.reference
    limits, labels = dict(job.request.max_drift), None
    # Untrained logits hardly differ between classes, so limits for trained models and labels mean
    # nothing with random weights; limits that were asked for hold.
    if reference.source["weights"] != "random":
        limits = {**spec.drift.get(kept.precision, {}), **limits}  # type: ignore[call-overload]
        labels = truths(job.images.held_out)
    return measure(
        spec.task,
        comparable(spec.task, theirs, reference.labels),
        comparable(spec.task, ours, reference.labels),
        labels=labels,
        limits=limits,
    )
