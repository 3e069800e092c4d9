"""The main job: a model, and each of its parts, from PyTorch to a bundle."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace

from engines.bundle_writer import open_writer
from engines.kit import KIT_SUFFIX
from engines.targets import find_target
from export.graph_build import Job, build_graph
from export.outcome import Built
from export.parts import of_part, samples_of_part
from export.request import Request
from export.samples import split
from export.sizes import check_sizes
from export.weights import check_settings, load_reference
from runtime.drift.limits import check_limits


def build(request: Request, say: Callable[[str], None]) -> Built:
    """Runs every stage and writes the bundle.

    Raises:
        ValueError, EngineError: a mistake in the request, in one line.
    """
    spec, target = request.spec, find_target(request.target)
    _check(request)
    seed = spec.calibration.seed if request.seed is None else request.seed
    reference = load_reference(spec.whole, request.weights, seed)
    say(f"weights: {reference.source['weights']}")
    images = split(
        spec.calibration,
        request.calibration,
        request.images or spec.calibration.images,
        seed,
        spec.whole.task,
        spec.whole.preprocess.kind,
    )
    name = f"{spec.name}-{request.precision}-{target.name}"
    name += "" if target.gpu is None else KIT_SUFFIX
    with open_writer(request.out / name) as writer:
        job = Job(request, reference, images, writer, target, say)
        return build_graph(_narrowed(job)) if spec.part else _whole(job)


def _check(request: Request) -> None:
    check_limits(request.spec.task, request.max_drift)
    if not 0.5 <= request.confidence < 1.0:
        raise ValueError(
            f"--confidence {request.confidence:g}: expected at least 0.5 and below 1, such as 0.95"
        )
    if request.precision_map is not None and request.precision != "int8":
        raise ValueError(
            f"--precision-map says what INT8 is made of; found --precision {request.precision}, "
            "expected int8"
        )
    check_settings(request.spec.whole)
    check_sizes(request.spec)


def _whole(job: Job) -> Built:
    """A model after its parts, as what it answers may take them."""
    parts = {}
    for name in job.request.spec.parts:
        job.say(f"part {name}")
        # Limits and a precision map that were asked for are the whole model's.
        spec = job.request.spec.of_part(name)
        request = replace(job.request, spec=spec, max_drift={}, precision_map=None)
        part = _narrowed(replace(job, request=request, writer=job.writer.part(name)))
        built = build_graph(part)
        if built.refused and request.precision == "int8" and built.drift.verdict != "fail":
            job.say(f"part {name} stays float: {built.refused}")
            shutil.rmtree(built.bundle)
            floating = replace(request, precision="fp32" if job.target.gpu is None else "fp16")
            again = replace(part, request=floating, writer=job.writer.part(name))
            built = build_graph(again)
        parts[name] = built
    return build_graph(job, parts)


def _narrowed(job: Job) -> Job:
    """The job of a part's record, with the part's own samples and preprocessing."""
    spec, reference = job.request.spec, job.reference
    images = replace(
        job.images,
        calibration=samples_of_part(spec, reference, job.images.calibration),
        held_out=samples_of_part(spec, reference, job.images.held_out),
    )
    return replace(job, reference=of_part(spec, reference), images=images)
