"""Our own graphs in the accuracy table, each made when it is first asked for."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx_ir as ir

from benchmarks.arithmetic import Work, of_file
from benchmarks.ours import Prepared
from calibration.precision import PrecisionMap
from calibration.quantise import decide
from export.calibration_limits import Judge
from export.lowering.cpu import lowered
from export.precision_choice import search
from export.typed import typed_graph

Graphs = Mapping[str, Callable[[], Path]]
SEARCHED = "int8 searched"
_BACKEND, _BATCH = "openvino", 8  # in which the search times layers


def our_graphs(prepared: Prepared, limit: float, confidence: float, out: Path) -> Graphs:
    """Lowered ONNX files by their name in the table.

    Args:
        prepared: the model and its images.
        limit: of `top1_agreement`, which the searched graph is to keep.
        confidence: with which.
        out: folder for the files.
    """

    portable, spec, cache = prepared.portable, prepared.spec, out / "calibrations"

    def typed(precision: str, precision_map: PrecisionMap | None = None) -> ir.Model:
        images = prepared.calibration
        return typed_graph(precision, portable, spec, images, precision_map, cache).model

    def searched() -> ir.Model:
        reference, samples = prepared.reference, prepared.images.calibration
        limits = {"top1_agreement": limit}
        judge = Judge(spec, reference, samples, limits, confidence)
        found = search(
            portable, spec, samples, reference.preprocess, judge, _BACKEND, _BATCH,
            lambda text: print(text, file=sys.stderr), cache,
        )  # fmt: skip
        if found.typed is None:
            raise ValueError("no set of int8 layers keeps the limit")
        return found.typed.model

    makers = {
        "int8": lambda: typed("int8"),
        "int8 every linear": lambda: typed("int8", decide(portable, {})),
        f"{SEARCHED} for {limit:.0%} at {confidence:.0%}": searched,
        "fp16": lambda: typed("fp16"),
    }
    return {
        label: _saved(make, out / f"{i}.onnx") for i, (label, make) in enumerate(makers.items())
    }


def int8_share(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> float:
    """Share of the linears' multiply-accumulates that a lowered graph runs in int8."""
    counts = of_file(file, shapes)
    return counts[Work.INT8_LINEAR] / (counts[Work.INT8_LINEAR] + counts[Work.FLOAT_LINEAR])


def _saved(make: Callable[[], ir.Model], file: Path) -> Callable[[], Path]:
    @functools.cache
    def path() -> Path:
        ir.save(lowered(make()), file)
        return file

    return path
