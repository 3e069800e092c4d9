"""Typed graphs: the portable float graph in the precisions that a build considers."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from calibration.attention import float_scores
from calibration.calibrate import Calibrated, Settings, calibrate
from calibration.half import half_from_onnx
from calibration.layer_shapes import LayerShape, layer_shapes
from calibration.precision import PrecisionMap, kept_float, negligible
from calibration.quantise import decide, int8_names, quantise
from calibration.range_cache import calibrate_cached
from calibration.sensitivity import LayerError, layer_errors
from export.answers import SingleImages
from export.graph_names import LINEARS
from export.operators import DOMAIN
from export.spec import ModelSpec

_SENSITIVITY_IMAGES = 8
# FP16 only asks how large values get, which a few images show.
_MAGNITUDE_IMAGES = 32
_FLOAT_SCORES = "TensorRT fuses attention in int8 only where both of its products are"


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


def typed_graph(
    precision: str,
    portable: ir.Model,
    spec: ModelSpec,
    images: SingleImages,
    precision_map: PrecisionMap | None = None,
    cache: Path | None = None,
) -> Typed:
    """The portable graph in a precision, with ranges or magnitudes from calibration images.

    Args:
        precision: "fp32", "fp16" or "int8".
        portable: the float graph.
        spec: the model's record, whose presets say what int8 leaves float.
        images: for calibration.
        precision_map: of int8: every linear's type, in place of the presets.
        cache: folder of calibrations, see `measured`.
    """
    if precision == "fp32":
        return Typed(portable, {})
    if precision == "fp16":
        half = half_from_onnx(portable, images.first(_MAGNITUDE_IMAGES))
        return Typed(half.model, half.precision_map)
    preset = preset_map(portable, spec, linear_shapes(portable, images))
    chosen = precision_map or preset
    # What may become int8 is calibrated together, so that a map that a search has written gives
    # the graph that the search has built.
    candidates = int8_names(preset) | int8_names(chosen)
    calibrated = measured(portable, candidates, images, spec, cache)
    names = [name for name, entry in chosen.items() if entry["type"] == "int8"]
    model = quantise(calibrated, names)
    few = images.first(_SENSITIVITY_IMAGES)
    errors = {e.name: e for e in layer_errors(portable, model, names, few, _SENSITIVITY_IMAGES)}
    return Typed(model, chosen, [errors[name] for name in names])


def float_parts_in_half(typed: Typed, images: SingleImages) -> Typed:
    """An int8 graph whose float parts are float16 where magnitudes allow it.

    GPUs multiply int8 and float16 in tensor cores and float32 far slower, so a graph for one
    leaves nothing in float32 without a reason. Queries and keys are float16 too, see
    `calibration.attention.float_scores`.
    """
    scores = {str(node.name) for node in typed.model.graph if node.domain == DOMAIN}
    half = half_from_onnx(float_scores(typed.model.clone()), images.first(_MAGNITUDE_IMAGES))
    chosen: dict[str, Mapping[str, str]] = {}
    for name, entry in typed.precision_map.items():
        if entry["type"] == "int8" and name not in scores:
            chosen[name] = entry
        else:
            why = _FLOAT_SCORES if entry["type"] == "int8" else entry["why"]
            chosen[name] = {"type": half.precision_map[name]["type"], "why": why}
    layers = [layer for layer in typed.layers if layer.name not in scores]
    return Typed(half.model, chosen, layers)


def measured(
    portable: ir.Model,
    names: Collection[str],
    images: SingleImages,
    spec: ModelSpec,
    cache: Path | None,
) -> Calibrated:
    """`calibrate`, or what an earlier build kept in the folder `cache` for the same arguments."""
    settings = Settings(spec.calibration.method)
    if cache is None:
        return calibrate(portable, names, images, settings)
    identity = {"inputs": images.digest()}
    return calibrate_cached(cache, identity, portable, names, images, settings)


def linear_shapes(portable: ir.Model, images: SingleImages) -> dict[str, LayerShape]:
    """Shapes and multiply-accumulates of every linear, as the first image has them."""
    return layer_shapes(portable, [str(node.name) for node in portable.graph], images)


def preset_map(
    portable: ir.Model, spec: ModelSpec, shapes: Mapping[str, LayerShape]
) -> PrecisionMap:
    """What structure, size and the record's presets say of each linear and attention.

    Raises:
        ValueError: no linear is left for int8.
    """
    names = [
        str(node.name)
        for node in portable.graph
        if node.op_type in LINEARS or node.domain == DOMAIN
    ]
    # A preset is a family's, and not every member has every part.
    keep = {
        kept.pattern: kept.why
        for kept in spec.keep_float
        if any(fnmatch.fnmatchcase(name, kept.pattern) for name in names)
    }
    small = negligible({name: shape.macs for name, shape in shapes.items()})
    return decide(portable, small | kept_float(names, keep))
