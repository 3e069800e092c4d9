"""The drift gate on a finished bundle: its engine against the PyTorch model it came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from export.answers import comparable, truths
from export.item_files import read_item, readable_files
from export.parts import of_part, samples_of_part, torch_runner
from export.samples import Sample, split
from export.spec import ModelSpec, find_model, load_models
from export.weights import Reference, load_reference
from runtime import Engine, EngineError
from runtime.drift.limits import check_limits
from runtime.drift.measure import measure
from runtime.drift.verdict import DriftReport
from runtime.engine_parts import graph_of
from runtime.images import read_labels
from runtime.manifest import Manifest
from runtime.tasks import find_task

Say = Callable[[str], None]


def measure_bundle(
    bundle: Path,
    images: Path | None,
    labels: Path | None,
    max_drift: Mapping[str, float],
    say: Say,
) -> tuple[DriftReport, dict[str, str]]:
    """Measures the drift of a bundle's engine.

    Args:
        bundle: its folder.
        images: a folder; None takes the model's rendered held-out set.
        labels: CSV of file name and class index; None looks in the folder for the task's own
            file.
        max_drift: limits that replace those of the bundle.
        say: told what is going on.

    Returns:
        The report, and what it is about (model, precision, target, engine).

    Raises:
        EngineError: the bundle does not load, or its weights are no longer there.
        ValueError: an unknown metric, or the model is not in `models.yaml`.
    """
    with Engine.load(bundle) as engine:
        manifest = engine.manifest
        check_limits(manifest.task, max_drift)
        spec = find_model(manifest.model, load_models())
        samples = _samples(spec, manifest, images, labels)
        reference = _reference(spec, manifest)
        if spec.part:
            samples = samples_of_part(spec, reference, samples)
            reference = of_part(spec, reference)
        say(f"running PyTorch on {len(samples)} images")
        as_built = replace(reference, preprocess=manifest.preprocess, labels=manifest.labels)
        runner = torch_runner(spec, as_built)
        theirs = runner.answers(samples)
        say(f"running {manifest.engine.backend} on {len(samples)} images")
        ours = replace(
            runner,
            graph=graph_of(engine),
            parts={name: graph_of(engine.part(name)) for name in manifest.parts},
        ).answers(samples)
    limits = {
        m["name"]: m["limit"] for m in manifest.drift["measurements"] if m["limit"] is not None
    }
    report = measure(
        manifest.task,
        comparable(manifest.task, theirs, manifest.labels),
        comparable(manifest.task, ours, manifest.labels),
        labels=truths(samples),
        limits={**limits, **max_drift},
    )
    return report, {
        "model": manifest.model,
        "precision": manifest.precision,
        "target": manifest.target,
        "engine": f"{manifest.engine.backend} {manifest.engine.version}",
    }


def _samples(
    spec: ModelSpec, manifest: Manifest, folder: Path | None, labels: Path | None
) -> Sequence[Sample]:
    """What the whole model is given, also of a part."""
    if folder is None:
        settings = spec.calibration
        if settings.rendered is None:
            raise EngineError(
                f"{manifest.model} has no rendered images; pass --images DIR with pictures of what "
                "the engine will see"
            )
        return split(settings, None, 1, settings.seed, spec.whole.task).held_out
    known: Mapping[str, Any] = (
        read_labels(labels) if labels else find_task(spec.whole.task).read_truths(folder)
    )
    return [
        Sample(path.name, lambda path=path: read_item(path), known.get(path.name))  # type: ignore[misc]
        for path in readable_files(folder, spec.whole.preprocess.kind)
    ]


def _reference(spec: ModelSpec, manifest: Manifest) -> Reference:
    """The PyTorch model of a bundle, from the weights it was built from and no others."""
    source = manifest.source
    weights = str(source["weights"])
    argument = None if weights == "default" else weights
    reference = load_reference(spec.whole, argument, int(source["seed"]))
    if reference.source["sha256"] != source["sha256"]:
        raise EngineError(
            f"the weights {weights} have changed since the bundle was built "
            f"(sha256 {reference.source['sha256'][:12]}…, expected {str(source['sha256'])[:12]}…); "
            "restore them or build again"
        )
    return reference
