"""The main job, stage by stage: PyTorch -> portable ONNX -> typed graphs -> engine -> bundle."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engines.bundle_writer import BundleWriter, open_writer
from engines.candidates import Candidate, Probe
from engines.kit import KIT_SUFFIX, Evidence
from engines.refusal import faster_float
from engines.targets import Target, find_target
from export.answers import SingleImages, answers, comparable, torch_run, truths
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
from export.precision_file import PRECISION_MAP, precision_map_text
from export.report_contents import write_bundle_report
from export.request import Request
from export.samples import Split, split
from export.to_onnx import onnx_from_module
from export.typed_graphs import typed_graphs
from export.weights import Reference, load_reference
from export.zoo import find_family
from runtime import Preprocess
from runtime.backends import Session, open_session
from runtime.drift.limits import check_limits
from runtime.drift.measure import measure
from runtime.drift.verdict import DriftReport
from runtime.golden import Golden
from runtime.manifest import EngineInfo, GoldenInfo
from runtime.tasks import Answer, find_task

Say = Callable[[str], None]
# Faithfulness is a property of the graph, so a few real images show it.
_FAITHFUL_IMAGES = 32


def build(request: Request, say: Say) -> Built:
    """Runs every stage and writes the bundle.

    Raises:
        ValueError, EngineError: a mistake in the request, in one line.
    """
    spec, target = request.spec, find_target(request.target)
    check_limits(spec.task, request.max_drift)
    if not 0.5 <= request.confidence < 1.0:
        raise ValueError(
            f"--confidence {request.confidence:g}: expected at least 0.5 and below 1, such as 0.95"
        )
    if request.precision_map is not None and request.precision != "int8":
        raise ValueError(
            f"--precision-map says what INT8 is made of; found --precision {request.precision}, "
            "expected int8"
        )
    seed = spec.calibration.seed if request.seed is None else request.seed
    reference = load_reference(spec, request.weights, seed)
    say(f"weights: {reference.source['weights']}")
    images = split(
        spec.calibration,
        request.calibration,
        request.images or spec.calibration.images,
        seed,
        spec.task,
    )
    name = f"{spec.name}-{request.precision}-{target.name}"
    name += "" if target.gpu is None else KIT_SUFFIX
    with open_writer(request.out / name) as writer:
        return _build(request, reference, images, writer, target, say)


def _build(
    request: Request,
    reference: Reference,
    images: Split,
    writer: BundleWriter,
    target: Target,
    say: Say,
) -> Built:
    spec, family = request.spec, find_family(request.spec.family)
    say("exporting to ONNX")
    portable = onnx_from_module(reference.module, family, *spec.trace_size)
    found = typed_graphs(request, portable, reference, images, target, say)
    run_reference = torch_run(reference.module, family.outputs)
    if target.gpu is None:
        probe = _probe(images, reference, run_reference, spec.task)
        choice = measured(request, found, target, probe, writer, say)
    else:
        choice = for_device(request, found, target, target.gpu, writer)

    kept, (backend, faithful) = choice.kept, choice.session
    measured_name = f"the {kept.precision} graph as written" if choice.graphs else kept.name
    say(f"measuring drift of {measured_name} on {len(images.held_out)} images")
    theirs = answers(run_reference, reference.preprocess, images.held_out)
    probes = PROBES if target.gpu is None else KIT_PROBES
    golden = write_golden(writer, reference, images.held_out, run_reference, probes)

    def judged(candidate: Candidate, session: Session) -> tuple[list[Answer], DriftReport, float]:
        """Answers of a session, their drift, and what golden probes must reach elsewhere."""
        try:
            ours = answers(session.run, reference.preprocess, images.held_out)
            drift = _drift(request, candidate, reference, images, theirs, ours)
            return ours, drift, golden_limit(golden, reference, session)
        finally:
            session.close()

    ours, drift, limit = judged(kept, open_session(backend, choice.model, faithful=faithful))
    refused = _refusal(request, choice, drift)
    built = Built(
        writer.folder, refused, kept, choice.why, choice.candidates, drift, images, reference, found
    )
    chosen = found.typed[kept.precision]
    if chosen.precision_map:
        text = precision_map_text(spec.name, chosen.precision_map)
        writer.path(PRECISION_MAP).write_text(text, encoding="utf-8")
    write_bundle_report(writer, request, built, chosen, theirs, ours, choice.model)
    info = GoldenInfo(limit, len(golden.frames))
    engine = _engine(choice, target, golden, reference.preprocess, limit)
    manifest = describe(request, built, chosen, info, choice.model, engine)
    if refused:
        return replace(built, bundle=writer.reject())
    if choice.graphs:
        evidence = {kept.precision: Evidence(manifest.drift, limit)}
        for graph in choice.others:
            say(f"measuring drift of the {graph.measured_as} graph as written")
            other, file = replace(kept, precision=graph.precision), writer.path(graph.file)
            _, drift, limit = judged(other, open_session(backend, file, faithful=faithful))
            evidence[graph.measured_as] = Evidence(drift_record(drift, images), limit)
        kit = kit_of(manifest, choice.graphs, evidence, request.max_batch, writer)
        return replace(built, bundle=kit)
    return replace(built, bundle=writer.finish(manifest))


def _refusal(request: Request, choice: Choice, drift: DriftReport) -> str:
    """Why a build is refused; empty when it is not."""
    reasons = ["drift is over its limit"] if drift.verdict == "fail" else []
    if request.precision == "int8" and not request.keep_slower:
        reasons += filter(None, [faster_float(choice.kept, choice.candidates)])
    return "; ".join(reasons)


def _engine(
    choice: Choice, target: Target, golden: Golden, preprocess: Preprocess, limit: float
) -> EngineInfo:
    """The engine of this machine, or the one that a device has yet to build."""
    kept = choice.kept
    if target.gpu is not None:
        return EngineInfo(kept.backend, "", target.device, target.gpu.compute_capability)
    others = find_fallbacks(choice, golden, preprocess, limit)
    return EngineInfo(kept.backend, kept.version, processor(), fallbacks=others)


def _probe(images: Split, reference: Reference, run: Any, task: str) -> Probe:
    every = SingleImages(images.calibration, reference.preprocess)
    singles = list(itertools.islice(every, _FAITHFUL_IMAGES))
    outputs = [{k: np.array(v[0]) for k, v in run(single).items()} for single in singles]
    sizes = (1,) if reference.preprocess.pad else (1, 8)
    batches = [{k: v.repeat(size, axis=0) for k, v in singles[0].items()} for size in sizes]
    return Probe(singles, outputs, batches, find_task(task).decisions)


def _drift(
    request: Request,
    kept: Candidate,
    reference: Reference,
    images: Split,
    theirs: Sequence[Answer],
    ours: Sequence[Answer],
) -> DriftReport:
    spec = request.spec
    limits, labels = dict(request.max_drift), None
    # Untrained logits hardly differ between classes, so limits for trained models and labels mean
    # nothing with random weights; limits that were asked for hold.
    if reference.source["weights"] != "random":
        limits = {**spec.drift.get(kept.precision, {}), **limits}  # type: ignore[call-overload]
        labels = truths(images.held_out)
    return measure(
        spec.task,
        comparable(spec.task, theirs, reference.labels),
        comparable(spec.task, ours, reference.labels),
        labels=labels,
        limits=limits,
    )
