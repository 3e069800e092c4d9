"""Typed graphs: the portable float graph in the precisions that a build considers."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from calibration.calibrate import Settings
from calibration.half import half_from_onnx
from calibration.quantise import quantised_from_onnx
from calibration.sensitivity import LayerError, layer_errors
from export.answers import SingleImages
from export.graph_names import LINEARS
from export.spec import ModelSpec

_SENSITIVITY_IMAGES = 8
# FP16 only asks how large values get, which a few images show.
_MAGNITUDE_IMAGES = 32


@dataclass(frozen=True)
class Typed:
    """A graph whose precision is decided.

    Attributes:
        model: portable: `vitrine` operators and their local functions are kept.
        precision_map: node -> {"type", "why"}.
        layers: error of each quantised layer, in graph order; empty for float graphs.
    """

    model: ir.Model
    precision_map: Mapping[str, Mapping[str, str]]
    layers: Sequence[LayerError] = ()


def typed_graph(precision: str, portable: ir.Model, spec: ModelSpec, images: SingleImages) -> Typed:
    """The portable graph in a precision, with ranges or magnitudes from calibration images."""
    if precision == "fp32":
        return Typed(portable, {})
    if precision == "fp16":
        half = half_from_onnx(portable, images.first(_MAGNITUDE_IMAGES))
        return Typed(half.model, half.precision_map)
    names = [str(node.name) for node in portable.graph if node.op_type in LINEARS]
    keep = {
        kept.pattern: kept.why
        for kept in spec.keep_float
        if any(fnmatch.fnmatchcase(name, kept.pattern) for name in names)
    }
    settings = Settings(method=spec.calibration.method)
    quantised = quantised_from_onnx(portable, images, settings, keep)
    int8 = [name for name, entry in quantised.precision_map.items() if entry["type"] == "int8"]
    errors: Any = layer_errors(
        portable, quantised.model, int8, images.first(_SENSITIVITY_IMAGES), _SENSITIVITY_IMAGES
    )
    order = {name: position for position, name in enumerate(int8)}
    layers = sorted(errors, key=lambda layer: order[layer.name])
    return Typed(quantised.model, quantised.precision_map, layers)
