"""Moves quantisation difficulty from a LayerNorm's output into the linears that read it.

For any positive s (one per channel), with gamma and beta the LayerNorm's affine:

    (gamma * n + beta) W  =  ((gamma / s) * n + beta / s) (diag(s) W)

so the graph gains no node and its float output is unchanged, while the activations become easier
to quantise (Xiao et al., "SmoothQuant", ICML 2023). All linears that read one LayerNorm share s.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx_ir as ir

from calibration.linears import Linear, constant, find_linears, private_copy, set_constant
from calibration.local_error import Affine
from calibration.ranges import ChannelStatistics
from calibration.smoothing import best_scales
from calibration.transforms.weights import scale_inputs


def migrate_scales(
    model: ir.Model, statistics: Mapping[str, ChannelStatistics], quantised: Collection[str]
) -> ir.Model:
    """Folds searched scales into LayerNorms and the linears after them.

    Args:
        model: Left as it is.
        statistics: Of the inputs of the linears, by value name.
        quantised: Names of the linears that will be int8; only their error counts.

    Returns:
        A copy with other constants and the same nodes.
    """
    copy = private_copy(model)
    linears = {linear.node: linear for linear in find_linears(copy)}
    for norm in list(copy.graph):
        if norm.op_type != "LayerNormalization" or norm.domain:
            continue
        readers = _readers(norm, linears)
        coarse = [reader for reader in readers if reader.name in quantised]
        if not coarse:
            continue
        affine = best_scales(_joint(coarse, statistics), [reader.matrix() for reader in coarse])
        if not affine.is_identity:
            _fold(norm, readers, affine)
    return copy


def _readers(norm: ir.Node, linears: Mapping[ir.Node, Linear]) -> list[Linear]:
    """The linears reading the norm's output, or none when anything else reads it too."""
    gamma, scale_axis = constant(norm.inputs[1]), norm.attributes.get_int("axis", -1)
    rank = None if norm.outputs[0].shape is None else norm.outputs[0].shape.rank()
    if gamma is None or gamma.ndim != 1 or scale_axis not in (-1, rank and rank - 1):
        return []
    if len(norm.inputs) > 2 and norm.inputs[2] is not None and constant(norm.inputs[2]) is None:
        return []
    if any(output.uses() for output in norm.outputs[1:]):
        return []
    found: list[Linear] = []
    values = [norm.outputs[0]]
    while values:
        value = values.pop()
        if value.is_graph_output():
            return []
        for node, index in value.uses():
            if index == 0 and node in linears and node.op_type != "Conv":
                found.append(linears[node])
            elif index == 0 and keeps_last_axis(node):
                values.append(node.outputs[0])
            else:
                return []
    if any(len(reader.matrix()) != len(gamma) for reader in found):
        return []
    return found


def keeps_last_axis(node: ir.Node) -> bool:
    """Whether a node only moves whole rows of the last axis about, as far as shapes can prove."""
    before = node.inputs[0].shape if node.inputs and node.inputs[0] is not None else None
    after = node.outputs[0].shape
    if before is None or after is None or node.domain:
        return False
    if node.op_type == "Transpose":
        order = node.attributes.get_ints("perm")
        return order is not None and order[-1] == len(order) - 1
    if node.op_type == "Gather":
        axis = node.attributes.get_int("axis", 0)
        return axis not in (-1, before.rank() - 1)
    if node.op_type == "Reshape" and before.rank() and after.rank():
        return isinstance(before[-1], int) and before[-1] == after[-1]
    return False


def _joint(readers: list[Linear], statistics: Mapping[str, ChannelStatistics]) -> ChannelStatistics:
    """Statistics over all values that the readers see (rows of the same tensor)."""
    joint = ChannelStatistics()
    for name in sorted({str(reader.source.name) for reader in readers}):
        joint.low = np.minimum(joint.low, statistics[name].low)
        joint.high = np.maximum(joint.high, statistics[name].high)
        joint.rows += statistics[name].rows
    return joint


def _fold(norm: ir.Node, readers: list[Linear], affine: Affine) -> None:
    for index in (1, 2):
        old = constant(norm.inputs[index]) if len(norm.inputs) > index else None
        if old is not None:
            set_constant(norm, index, (old / affine.scale).astype(np.float32))
    for reader in readers:
        scale_inputs(reader, affine.scale)
