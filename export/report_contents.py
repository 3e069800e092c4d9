"""Gathers what a build learnt into the report of its bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engines import report, report_data
from engines.bundle_writer import BundleWriter
from engines.candidates import Candidate
from export.calibration_limits import said
from export.outcome import Built
from export.precision_choice import Searched
from export.request import Request
from export.typed import Typed
from runtime.batch import Batch
from runtime.drift.formats import to_json
from runtime.tasks import Answer, Entry, find_task

_EXAMPLES = 6
_CLIP_FRAMES = 4
_SHOWN_SCORE = 0.5


def write_bundle_report(
    writer: BundleWriter,
    request: Request,
    built: Built,
    typed: Typed,
    theirs: Sequence[Answer],
    ours: Sequence[Answer],
    model: Path,
) -> None:
    """Writes drift.json and report.html into the bundle; `model` is the graph that was kept."""
    writer.path("drift.json").write_text(to_json(built.drift), encoding="utf-8")
    source = built.reference.source
    searched = built.graphs.searched if built.kept.precision == "int8" else None
    parameters = sum(p.numel() for p in built.reference.module.parameters())
    data = report_data.ReportData(
        model=request.spec.name,
        precision=built.kept.precision,
        target=request.target,
        drift=built.drift,
        sizes=(
            ("PyTorch float32 weights", 4 * parameters),
            (model.name, model.stat().st_size),
        ),
        layers=_layers(typed, searched),
        steps=_steps(built.graphs.searched),
        candidates=tuple(_row(c, c is built.kept) for c in built.candidates),
        choice=built.why,
        examples=_examples(request, built, theirs, ours),
        provenance=(
            ("weights", str(source["weights"])),
            ("weights sha256", str(source["sha256"]) or "random, none"),
            ("tensor names", str(source.get("naming", "none"))),
            ("calibration", f"{len(built.split.calibration)} images, {built.split.origin}"),
            ("calibration sha256", built.split.digest),
            ("range method", request.spec.calibration.method),
            ("skipped images", ", ".join(sorted(built.split.skipped)) or "none"),
            ("engine", _engine(built)),
            *_search_facts(request, built.graphs.searched),
        ),
    )
    report.write_report(writer.path("report.html"), data)


def _engine(built: Built) -> str:
    if built.kept.version:
        return f"{built.kept.backend} {built.kept.version}"
    return "none yet: a device kit; what is measured here is its graph as written, in ONNX Runtime"


def _layers(typed: Typed, searched: Searched | None) -> tuple[report_data.Layer, ...]:
    errors = {layer.name: layer for layer in typed.layers}
    effects = {} if searched is None else searched.effects
    saved = {} if searched is None else searched.saved_ms
    operators = {str(node.name): node.op_type for node in typed.model.graph}
    return tuple(
        report_data.Layer(
            name,
            operators.get(name, ""),
            entry["type"],
            "" if entry["type"] == "int8" else entry["why"],
            errors[name].relative_error if name in errors else None,
            errors[name].cosine if name in errors else None,
            effects.get(name),
            saved.get(name),
        )
        for name, entry in typed.precision_map.items()
    )


def _search_facts(request: Request, searched: Searched | None) -> tuple[tuple[str, str], ...]:
    if request.precision_map is not None:
        return (("precision map", request.precision_map.name),)
    if searched is None:
        return ()
    return (
        ("confidence of the search", f"{request.confidence:g}"),
        ("int8 share of multiply-accumulates", f"{searched.int8_share:.1%}"),
    )


def _steps(searched: Searched | None) -> tuple[report_data.Step, ...]:
    if searched is None:
        return ()
    return tuple(
        report_data.Step(step.returned, said(step.judged), step.holds) for step in searched.steps
    )


def _row(found: Candidate, kept: bool) -> report_data.EngineRow:
    single = found.latency[min(found.latency)] if found.latency else None
    per_batch = ", ".join(
        f"{times.median:.1f} ms at batch {batch}" for batch, times in found.latency.items()
    )
    note = found.obstacle or per_batch + ("" if found.wanted else "; measured to compare only")
    times = (single.p10, single.median, single.p90) if single else None
    return report_data.EngineRow(found.name, times, not found.obstacle, kept, note)


def _examples(
    request: Request, built: Built, theirs: Sequence[Answer], ours: Sequence[Answer]
) -> tuple[report_data.Example, ...]:
    """The first images, preceded by those on which engine and reference disagree most."""
    labels = built.reference.labels
    if not built.split.held_out or _picture(built.split.held_out[0].read()) is None:
        return ()
    rows = []
    for index, (reference, engine) in enumerate(zip(theirs, ours, strict=True)):
        left = _predictions(request.spec.task, reference, labels)
        right = _predictions(request.spec.task, engine, labels)
        same = [p.label for p in left[:1]] == [p.label for p in right[:1]]
        rows.append((same, index, left, right))
    rows.sort(key=lambda row: row[:2])
    disagreeing = [row for row in rows if not row[0]][: _EXAMPLES // 2]
    chosen = disagreeing + [row for row in rows if row[0]]
    examples = []
    for _, index, left, right in chosen[:_EXAMPLES]:
        sample = built.split.held_out[index]
        picture = _picture(sample.read())
        assert picture is not None  # as items are of one kind
        examples.append(report_data.Example(sample.name, picture, left, right))
    return tuple(examples)


def _picture(item: Any) -> npt.NDArray[np.uint8] | None:
    """A frame; of a clip some frames in a row; None of what cannot be looked at."""
    if not isinstance(item, np.ndarray):
        return None
    if item.ndim == 3:
        return item
    frames = item[np.linspace(0, len(item) - 1, min(len(item), _CLIP_FRAMES)).astype(int)]
    return np.concatenate(frames, axis=1)


def _predictions(task: str, answer: Answer, labels: Sequence[str]) -> tuple[Entry, ...]:
    batch = Batch({}, [answer.frame_size], list(answer.regions), [len(answer.regions)])
    found = find_task(task).predict(answer.outputs, batch, labels, _SHOWN_SCORE)[0]
    return tuple(found.entries())
