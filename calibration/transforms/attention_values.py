"""Centres and equalises what attention gives to the linear after it, at no cost.

Each row of softmax probabilities P adds up to one, so for an offset o and a positive scale s per
channel of the values v

    P ((v - o) / s)  =  (P v - o) / s

and with the output projection W, b

    (P v) W + b  =  ((P v - o) / s) (diag(s) W)  +  (b + o W).

The change of v folds into the linear that computes it (weights / s, bias (b - o) / s), and as its
weights have one int8 scale for each output channel they lose nothing by it. The graph gains no
node and its float output is unchanged. The scales are SmoothQuant's (Xiao et al., ICML 2023); the
offset follows from the rows' sum as in Outlier Suppression+ (Wei et al., EMNLP 2023, section 4.1).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx_ir as ir

from calibration.biases import add_to_bias, biased_node
from calibration.linears import Linear, find_linears, private_copy
from calibration.local_error import Affine
from calibration.transforms.migrate_scales import keeps_last_axis
from calibration.transforms.weights import scale_inputs, scale_outputs

_DOMAIN = "vitrine"
_HEADS_APART = (0, 2, 1, 3)


def value_linears(model: ir.Model, quantised: Collection[str]) -> list[str]:
    """The int8 linears that read attention whose values one linear computes."""
    return [reader.name for reader, _, _ in _sites(model) if reader.name in quantised]


def fold_values(model: ir.Model, affines: Mapping[str, Affine]) -> ir.Model:
    """Folds changes of the inputs of output projections into values.

    Args:
        model: Left as it is.
        affines: Name, out of `value_linears`, -> change of that linear's input.

    Returns:
        A copy with other constants, the same nodes and the same float output.
    """
    copy = private_copy(model)
    for reader, source, first in _sites(copy):
        affine = affines.get(reader.name)
        if affine is not None and not affine.is_identity:
            _fold(reader, source, first, affine)
    return copy


def _fold(reader: Linear, source: Linear, first: int, affine: Affine) -> None:
    outputs, inputs = source.matrix().shape[1], len(affine.scale)
    values = slice(first, first + inputs)
    scale, offset = np.ones(outputs), np.zeros(outputs)
    scale[values], offset[values] = affine.scale, affine.offset
    add_to_bias(source, -offset)
    scale_outputs(source, 1.0 / scale)
    add_to_bias(reader, affine.offset @ reader.matrix().astype(np.float64))
    scale_inputs(reader, affine.scale)


def _sites(model: ir.Model) -> list[tuple[Linear, Linear, int]]:
    """(reader, linear that computes the values, the first of its outputs that are values)."""
    linears = [linear for linear in find_linears(model) if linear.node.op_type != "Conv"]
    by_output = {biased_node(linear).outputs[0]: linear for linear in linears}
    found = []
    for reader in linears:
        values = _values_before(reader.source)
        source = None if values is None or not _alone(values) else by_output.get(values)
        if source is not None and source.matrix().shape[1] >= len(reader.matrix()):
            # Queries and keys come first where one linear computes all three.
            found.append((reader, source, source.matrix().shape[1] - len(reader.matrix())))
    return found


def _values_before(mixed: ir.Value) -> ir.Value | None:
    """What attention mixes, in the channel order of its output `mixed`; None if nothing proves it.

    The graph holds attention as the operators FusedAttention, with the heads on an axis of their
    own, and WindowAttention, whose input ends in the values.
    """
    fused = _step(_step(mixed, "Reshape"), "Transpose")
    node = None if fused is None else fused.producer()
    if node is not None and (node.domain, node.op_type) == (_DOMAIN, "FusedAttention"):
        assert fused is not None
        return _step(_step(node.inputs[2], "Transpose"), "Reshape") if _alone(fused) else None
    mixed = _before_layout(mixed)
    node = mixed.producer()
    if node is None or (node.domain, node.op_type) != (_DOMAIN, "WindowAttention"):
        return None
    if not _alone(mixed) or node.inputs[0] is None:
        return None
    return _last_part(_before_layout(node.inputs[0]))


def _last_part(value: ir.Value) -> ir.Value | None:
    """The last of what is concatenated by channel: values, after queries and keys."""
    node = value.producer()
    if node is None or node.op_type != "Concat" or not _alone(value):
        return value
    rank = None if value.shape is None else value.shape.rank()
    by_channel = node.attributes.get_int("axis") in (-1, rank and rank - 1)
    return node.inputs[-1] if by_channel else None


def _step(value: ir.Value | None, op_type: str) -> ir.Value | None:
    """The input of the Transpose or Reshape between heads apart and heads in one last axis."""
    node = None if value is None else value.producer()
    if value is None or node is None or node.op_type != op_type or not _alone(value):
        return None
    source = node.inputs[0]
    if source is None or source.shape is None or value.shape is None:
        return None
    if op_type == "Transpose":
        order = node.attributes.get_ints("perm")
        return source if order is not None and tuple(order) == _HEADS_APART else None
    apart, merged = sorted((source.shape, value.shape), key=lambda shape: -shape.rank())
    heads, size, width = apart[-2], apart[-1], merged[-1]
    if (apart.rank(), merged.rank()) != (4, 3) or not isinstance(heads, int):
        return None
    return source if isinstance(size, int) and heads * size == width else None


def _before_layout(value: ir.Value) -> ir.Value:
    """Goes back over nodes that move whole rows of channels about."""
    node = value.producer()
    while node is not None and _alone(value) and node.inputs and keeps_last_axis(node):
        assert node.inputs[0] is not None
        value = node.inputs[0]
        node = value.producer()
    return value


def _alone(value: ir.Value) -> bool:
    return len(value.uses()) == 1 and not value.is_graph_output()
