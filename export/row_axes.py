"""Which operators treat rows independently: the axes of their inputs that an output axis follows.

A node f computes rows independently along an axis when f(x)[rows] = f(x[rows]); a selection or
a permutation of constant rows may then move from its output to its inputs, or back.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from export.operators import DOMAIN

Axes = dict[int, int]
"""Input of a node -> the axis of that input along which its rows run."""

_UNARY = frozenset(
    {"Cast", "DequantizeLinear", "Erf", "Gelu", "Identity", "QuantizeLinear", "Relu", "Sigmoid"}
    | {"Sqrt", "Tanh"}
)
_BINARY = frozenset({"Add", "Div", "Mul", "Sub"})


def row_axes(node: ir.Node, axis: int, rank: int) -> Axes:
    """Where the rows along output axis `axis` come from; empty when they are not independent.

    Inputs that are not named serve every row as they are: weights, or a size of 1 on that axis.

    Args:
        node: with one output; its inputs have shapes.
        axis: of the output, not negative.
        rank: of the output.
    """
    if node.domain == DOMAIN:
        return _attention(node, axis) if node.op_type == "FusedAttention" else {}
    if node.domain:
        return {}
    if node.op_type in _UNARY:
        scalar = node.op_type in ("Cast", "Identity") or len(node.inputs) == 1
        return {0: axis} if scalar or _is_scalar(node.inputs[1]) else {}
    rule = _RULES.get(node.op_type, _none)
    return _broadcast(node, axis, rank) if node.op_type in _BINARY else rule(node, axis)


def _none(node: ir.Node, axis: int) -> Axes:
    return {}


def _broadcast(node: ir.Node, axis: int, rank: int) -> Axes:
    """Axes align from the right; an input of size 1 there serves all rows as it is."""
    found: Axes = {}
    for index, value in enumerate(node.inputs):
        if value is None or value.shape is None:
            return {}
        own = axis - (rank - value.shape.rank())
        if own >= 0 and value.shape[own] != 1:
            found[index] = own
    return found


def _layer_norm(node: ir.Node, axis: int) -> Axes:
    rank = rank_of(node.inputs[0])
    return {0: axis} if axis < node.attributes.get_int("axis", -1) % rank else {}


def _softmax(node: ir.Node, axis: int) -> Axes:
    rank = rank_of(node.inputs[0])
    return {0: axis} if axis != node.attributes.get_int("axis", -1) % rank else {}


def _matmul(node: ir.Node, axis: int) -> Axes:
    """Rows of the product are rows of the left operand; for weights, all but the last axis are."""
    rank = rank_of(node.inputs[0])
    plain = rank_of(node.inputs[1]) == 2
    return {0: axis} if axis == rank - 2 or (plain and axis < rank - 1) else {}


def _transpose(node: ir.Node, axis: int) -> Axes:
    order = node.attributes.get_ints("perm")
    return {} if order is None else {0: order[axis]}


def _reshape(node: ir.Node, axis: int) -> Axes:
    """Only where all axes up to this one are the same before and after."""
    before, target = node.inputs[0], node.inputs[1]
    after = node.outputs[0].shape
    if before is None or before.shape is None or after is None:
        return {}
    if target is None or target.const_value is None or target.const_value.numpy()[axis] <= 0:
        return {}
    same = list(before.shape)[: axis + 1] == list(after)[: axis + 1]
    return {0: axis} if same else {}


def _attention(node: ir.Node, axis: int) -> Axes:
    """FusedAttention: output (B, H, Nq, D) of q (B, H, Nq, D) and a bias over (B, H, Nq, Nk)."""
    if axis != 2:
        return {}
    bias = node.inputs[3] if len(node.inputs) > 3 else None
    found: Axes = {0: 2}
    if bias is not None:
        if bias.shape is None:
            return {}
        own = 2 - (4 - bias.shape.rank())
        if own >= 0 and bias.shape[own] != 1:
            found[3] = own
    return found


def _concat(node: ir.Node, axis: int) -> Axes:
    along = node.attributes.get_int("axis", 0) % rank_of(node.outputs[0])
    return {} if along == axis else dict.fromkeys(range(len(node.inputs)), axis)


_RULES: dict[str, Callable[[ir.Node, int], Axes]] = {
    "Concat": _concat,
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
    "Reshape": _reshape,
    "Softmax": _softmax,
    "Transpose": _transpose,
}


def rank_of(value: ir.Value | None) -> int:
    """Number of axes of a value whose shape is known."""
    assert value is not None and value.shape is not None
    return value.shape.rank()


def _is_scalar(value: ir.Value | None) -> bool:
    return value is not None and value.shape is not None and value.shape.rank() == 0
