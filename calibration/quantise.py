"""Calibrated float graph -> int8 Q/DQ graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from calibration.activations import Batches
from calibration.attention import attentions, quantise_scores
from calibration.calibrate import Calibrated, Settings, calibrate
from calibration.linears import find_linears, private_copy
from calibration.precision import PrecisionMap, kept_float
from calibration.qdq import insert_qdq
from calibration.transforms.post_gelu import centre_activations


@dataclass(frozen=True)
class Quantised:
    """An int8 graph and how it came about.

    Attributes:
        model: The Q/DQ graph; inputs and outputs as in the float graph.
        precision_map: For every linear, what it became and why.
        calibrated: What was measured.
    """

    model: ir.Model
    precision_map: PrecisionMap
    calibrated: Calibrated


def quantised_from_onnx(
    model: ir.Model,
    batches: Batches,
    settings: Settings,
    keep_float: Mapping[str, str] | None = None,
) -> Quantised:
    """Quantises every linear that gains from it to W8A8.

    Args:
        model: Float graph (MatMul, Gemm and Conv linears, named nodes); left as it is.
        batches: Calibration inputs; read two to three times, one image at a time.
        settings: See `Settings`.
        keep_float: fnmatch pattern of node names -> why these stay float.

    Raises:
        ValueError: A keep_float pattern that matches nothing, no images, no linear to quantise,
            or a float graph that computes an infinite value or a NaN.
    """
    kept = kept_float([str(node.name) for node in model.graph], keep_float or {})
    precision_map = decide(model, kept)
    names = int8_names(precision_map)
    calibrated = calibrate(model, names, batches, settings)
    return Quantised(quantise(calibrated, names), precision_map, calibrated)


def quantise(calibrated: Calibrated, names: Collection[str]) -> ir.Model:
    """The graph in which the named linears and attentions, all of them calibrated, are int8."""
    affines = {name: affine for name, affine in calibrated.affines.items() if name in names}
    graph = centre_activations(calibrated.graph, affines)
    scores = [name for name in attentions(graph) if name in names]
    graph = quantise_scores(graph, calibrated.thresholds, scores)
    linears = [name for name in names if name not in scores]
    return insert_qdq(graph, calibrated.thresholds, linears, calibrated.channels)


def decide(model: ir.Model, kept: Mapping[str, str]) -> PrecisionMap:
    """What each linear and attention of the graph becomes: float if kept, int8 if it can be.

    Args:
        model: Float graph.
        kept: Node name -> why it stays float.

    Raises:
        ValueError: No linear to quantise.
    """
    graph = private_copy(model)
    decided: PrecisionMap = {}
    for linear in find_linears(graph):
        why = kept.get(linear.name) or linear.obstacle()
        decided[linear.name] = (
            {"type": "fp32", "why": why} if why else {"type": "int8", "why": "a linear layer"}
        )
    for name in attentions(graph):
        why = kept.get(name, "")
        decided[name] = (
            {"type": "fp32", "why": why} if why else {"type": "int8", "why": "queries and keys"}
        )
    if int8_names(decided) <= set(attentions(graph)):
        raise ValueError("no linear is left to quantise; loosen keep_float or build fp16")
    return decided


def int8_names(precision_map: PrecisionMap) -> set[str]:
    """The linears and attentions of a map that run in int8."""
    return {name for name, entry in precision_map.items() if entry["type"] == "int8"}
