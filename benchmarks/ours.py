"""Our typed graphs of one model, written to files, without the bundle around them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from export.answers import SingleImages
from export.lowering.cpu import lowered
from export.samples import Split, split
from export.spec import find_model, load_models
from export.to_onnx import onnx_from_module
from export.typed import typed_graph
from export.weights import Reference, load_reference
from export.zoo import FAMILIES


@dataclass(frozen=True)
class Prepared:
    """A reference, its images, and the lowered ONNX file of each precision."""

    reference: Reference
    images: Split
    calibration: SingleImages
    files: dict[str, Path]


def prepare(
    model: str, weights: str | None, folder: Path | None, images: int, seed: int,
    precisions: tuple[str, ...], out: Path, held_out: int = 1,
) -> Prepared:  # fmt: skip
    """Exports a model and writes one lowered graph a precision into `out`."""
    spec = find_model(model, load_models())
    reference = load_reference(spec, weights, seed)
    settings = spec.calibration.model_copy(update={"held_out": held_out})
    chosen = split(settings, folder, images, seed)
    calibration = SingleImages(chosen.calibration, reference.preprocess)
    portable = onnx_from_module(reference.module, FAMILIES[spec.family], *spec.trace_size)
    files = {}
    for precision in precisions:
        files[precision] = out / f"{model}-{precision}.onnx"
        typed = typed_graph(precision, portable, spec, calibration)
        ir.save(lowered(typed.model), files[precision])
    return Prepared(reference, chosen, calibration, files)
