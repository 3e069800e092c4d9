"""How large the values get that each node computes, on calibration images.

The maxima are computed inside the graph, so that memory holds no more than ONNX Runtime's own
working set and one number a tensor. Calls of local functions are expanded first: the peak of a
call covers what its body computes.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, ShapeInferencePass

from calibration.activations import Batches, stream
from calibration.linears import add_constant, constant, private_copy

HALF_MAX = 65504.0
"""The largest finite float16."""
_OWNER = "vitrine.peak_of"


def peaks(model: ir.Model, batches: Batches, threads: int | None = None) -> dict[str, float]:
    """The largest magnitude of each float tensor over all images.

    Values at or near a mask constant (one below -65504, which softmax turns into 0) are left out:
    float16 writes such a mask as -65504 to the same effect.

    Args:
        model: Float graph with unique node names, see `private_copy`.
        batches: Calibration inputs.
        threads: ONNX Runtime threads; None means all cores.

    Returns:
        Node name or graph input name -> peak over its float32 outputs; infinite when a NaN was
        seen. Nodes without float32 outputs are missing.
    """
    probe = _expanded(model)
    cut = mask_cut(probe)
    owners: dict[str, str] = {}
    for value in [v for v in probe.graph.inputs if v.dtype == ir.DataType.FLOAT]:
        owners[_add_peak(probe.graph, value, cut)] = str(value.name)
    for node in list(probe.graph):
        owner = node.metadata_props.get(_OWNER)
        for value in node.outputs:
            if owner is not None and value.dtype == ir.DataType.FLOAT:
                owners[_add_peak(probe.graph, value, cut)] = owner
    found: dict[str, float] = {}
    for image in stream(probe, list(owners), batches, threads):
        for name, peak in image.items():
            size = math.inf if np.isnan(peak) else float(peak)
            found[owners[name]] = max(found.get(owners[name], 0.0), size)
    return found


def mask_cut(model: ir.Model) -> float | None:
    """Values below this come from mask constants; None when the graph has no such constants."""
    lowest = []
    for value in model.graph.initializers.values():
        array = constant(value)
        if array is not None and array.dtype == np.float32:
            lowest += list(array[array < -HALF_MAX])
    if not lowest:
        return None
    return max(float(max(lowest)), float(np.finfo(np.float32).min)) / 2.0


def _expanded(model: ir.Model) -> ir.Model:
    """A copy without function calls, each node tagged with the node of `model` it stems from."""
    probe = private_copy(model)
    for node in probe.graph:
        node.metadata_props[_OWNER] = str(node.name)
    InlinePass()(probe)
    # Bodies of functions are full of Constant nodes, which may be masks as well.
    probe = private_copy(probe)
    ShapeInferencePass()(probe)
    return probe


def _add_peak(graph: ir.Graph, value: ir.Value, cut: float | None) -> str:
    """Appends the computation of max |value| and returns its name."""
    source = value
    added = []
    if cut is not None:
        limit = add_constant(graph, "mask_cut", np.array(cut, np.float32))
        zero = add_constant(graph, "mask_zero", np.array(0.0, np.float32))
        added.append(ir.node("Less", [value, limit]))
        added.append(ir.node("Where", [added[0].outputs[0], zero, value]))
        source = added[-1].outputs[0]
    added.append(ir.node("Abs", [source]))
    added.append(ir.node("ReduceMax", [added[-1].outputs[0]], {"keepdims": 0}))
    added[-1].outputs[0].name = f"{value.name}/peak"
    graph.extend(added)
    return str(added[-1].outputs[0].name)
