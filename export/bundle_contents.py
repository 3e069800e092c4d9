"""What a build writes into its bundle besides the graph: golden probes and the manifest."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import torch
import transformers

from engines.bundle_writer import BundleWriter
from engines.candidates import candidate_record
from export.answers import Run
from export.calibration_limits import Figure
from export.outcome import Built
from export.request import Request
from export.samples import Sample, Split
from export.typed import Typed
from export.weights import Reference
from runtime.backends import Session
from runtime.drift.verdict import DriftReport
from runtime.golden import Golden, check, save_golden
from runtime.items import to_arrays
from runtime.loading import GOLDEN
from runtime.manifest import EngineInfo, GoldenInfo, Manifest, TensorInfo
from runtime.preparation import Preparation
from runtime.strict_npz import MOST_BYTES

PROBES = 4
"""Golden probes of an engine that was measured where it was built."""
# Another processor rounds differently, so a probe may lose more than it did where the engine was
# built: four times as much, and at least what changing the order of float32 sums explains.
_SLACK = 4.0
_MOST_GOLDEN_BYTES = MOST_BYTES // 2
_LEAST_LOSS = 1e-4


def write_golden(
    writer: BundleWriter,
    reference: Reference,
    samples: Sequence[Sample],
    run_reference: Run,
) -> Golden:
    """Writes golden.npz from samples, as many as fit; of a frame cut into tiles, from one."""
    items: list[Any] = []
    outputs: list[dict[str, npt.NDArray[Any]]] = []
    room = _MOST_GOLDEN_BYTES
    for sample in samples:
        item = _one_image(sample.read(), reference.preprocess)
        found = run_reference(reference.preprocess([item]).inputs)
        room -= sum(a.nbytes for a in (*to_arrays(item).values(), *found.values()))
        if items and room < 0:
            break  # caches of large models take hundreds of megabytes each
        items.append(item)
        outputs.append({name: np.array(value[0]) for name, value in found.items()})
    golden = Golden(items, outputs)
    save_golden(writer.path(GOLDEN), golden)
    return golden


def _one_image(item: Any, preprocess: Preparation) -> Any:
    """The item, or, of a frame that is cut into tiles, the one in their midst."""
    images = preprocess.prepare(item).images
    return item if len(images) == 1 else images[len(images) // 2]


def golden_limit(golden: Golden, reference: Reference, session: Session) -> float:
    """The least cosine that a probe must reach elsewhere, from what it reaches in this session."""
    worst = check(session.run, reference.preprocess, golden, -1.0)
    return 1.0 - max(_SLACK * (1.0 - worst), _LEAST_LOSS)


def drift_record(drift: DriftReport, images: Split) -> dict[str, Any]:
    """Drift as a manifest keeps it."""
    return drift.to_dict() | {"held_out": images.disjoint}


def describe(
    request: Request,
    built: Built,
    typed: Typed,
    golden: GoldenInfo,
    model: Path,
    engine: EngineInfo,
) -> Manifest:
    """The manifest of a build, without the files' hashes."""
    spec, kept, images = request.spec, built.kept, built.split
    inputs, outputs = _tensors(model)
    return Manifest(
        model=spec.name,
        task=spec.task,
        precision=kept.precision,
        target=request.target,
        engine=engine,
        files={},
        inputs=inputs,
        outputs=outputs,
        preprocess=built.reference.preprocess,
        labels=built.reference.labels,
        golden=golden,
        precision_map={name: dict(entry) for name, entry in typed.precision_map.items()},
        calibration={
            "images": len(images.calibration),
            "digest": images.digest,
            "method": spec.calibration.method,
            "origin": images.origin,
            "skipped": images.skipped,
            **_search(request, built),
        },
        drift=drift_record(built.drift, images),
        latency={
            "kept": built.why,
            "candidates": [candidate_record(candidate) for candidate in built.candidates],
        },
        source={
            **built.reference.source,
            "seed": spec.calibration.seed if request.seed is None else request.seed,
            "versions": {
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "onnx": onnx.__version__,
            },
        },
    )


def _search(request: Request, built: Built) -> dict[str, Any]:
    """How the precision map came about, where it was searched or given."""
    if request.precision_map is not None:
        return {"precision_map": request.precision_map.name}
    searched = built.graphs.searched
    if searched is None:
        return {}
    return {
        "search": {
            "confidence": request.confidence,
            "int8_share_of_macs": searched.int8_share,
            "timed": {"backend": searched.backend, "batch": searched.batch},
            "steps": [
                {
                    "returned": step.returned,
                    "holds": step.holds,
                    "figures": [_figure(figure) for figure in step.judged],
                }
                for step in searched.steps
            ],
        }
    }


def _figure(figure: Figure) -> dict[str, Any]:
    value = None if math.isnan(figure.value) else figure.value
    return asdict(figure) | {"value": value}


def _tensors(model: Path) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
    graph = ir.load(model).graph
    return tuple(map(_tensor, graph.inputs)), tuple(map(_tensor, graph.outputs))


def _tensor(value: ir.Value) -> TensorInfo:
    assert value.dtype is not None and value.shape is not None
    shape = tuple(d if isinstance(d, int) else str(d.value) for d in value.shape)
    return TensorInfo(str(value.name), str(value.dtype.numpy()), shape)


def processor() -> str:
    """The processor's model name, which decides what int8 instructions there are."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
