"""Attention whose queries and keys are int8, in the form that back ends run in int8.

1. scale (s qi) = (scale s) qi: the factor of the scores goes into the scale with which queries
   (or keys, where the graph multiplies those) are dequantised, so that nothing stands between
   dequantisation and product.
2. Keys pass two Transposes, heads first and then rows against columns. As one, OpenVINO moves
   every byte for itself; apart, it folds the second into the product. They stay apart when a
   Q/DQ stands between them, and quantising dequantised values by their own scale changes none.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from calibration.linears import add_constant
from export.lowering.rule import Rule

_LAYOUT = frozenset({"Reshape", "Transpose", "Gather", "Squeeze", "Unsqueeze"})
_HEADS_FIRST, _MERGED, _ROWS_AGAINST_COLUMNS = (0, 2, 1, 3), (0, 2, 3, 1), (0, 1, 3, 2)


def fold_score_scales(model: ir.Model) -> ir.Model:
    """Rule 1, in place."""
    for node in list(model.graph):
        if node.op_type != "Mul" or node.domain:
            continue
        factor, dequantise = _scalar(node.inputs[1]), _dequantise_above(node.inputs[0])
        if factor is None or dequantise is None or not _alone_down_to(dequantise, node):
            continue
        scale = dequantise.inputs[1]
        if scale is None or scale.const_value is None:
            continue
        folded = np.asarray(scale.const_value.numpy() * factor)
        name = f"{scale.name}.scores"
        dequantise.replace_input_with(1, add_constant(model.graph, name, folded))
        source = node.inputs[0]
        assert source is not None
        ir.convenience.replace_all_uses_with(node.outputs[0], source)
        model.graph.remove(node, safe=True)
    return model


def part_key_transposes(model: ir.Model) -> ir.Model:
    """Rule 2, in place."""
    for node in list(model.graph):
        if node.op_type != "MatMul" or node.inputs[1] is None:
            continue
        transpose = node.inputs[1].producer()
        if transpose is None or transpose.op_type != "Transpose":
            continue
        dequantise = _dequantise_above(transpose.inputs[0])
        if dequantise is not None and transpose.attributes.get_ints("perm") == _MERGED:
            _part(model.graph, transpose, dequantise)
    return model


def _part(graph: ir.Graph, transpose: ir.Node, dequantise: ir.Node) -> None:
    source, name = transpose.inputs[0], f"{transpose.name}.heads"
    assert source is not None
    heads = ir.node("Transpose", [source], {"perm": _HEADS_FIRST}, name=name)
    again = ir.node(
        "QuantizeLinear", [heads.outputs[0], *dequantise.inputs[1:]], name=f"{name}.quantise"
    )
    restored = ir.node(
        "DequantizeLinear", [again.outputs[0], *dequantise.inputs[1:]], name=f"{name}.dequantise"
    )
    for added in (heads, again, restored):
        added.outputs[0].name = f"{added.name}.output"
    graph.insert_before(transpose, [heads, again, restored])
    transpose.replace_input_with(0, restored.outputs[0])
    transpose.attributes["perm"] = ir.AttrInt64s("perm", _ROWS_AGAINST_COLUMNS)


def _dequantise_above(value: ir.Value | None) -> ir.Node | None:
    """The DequantizeLinear from which `value` comes through layout changes alone."""
    node = None if value is None else value.producer()
    while node is not None and node.op_type in _LAYOUT and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node if node is not None and node.op_type == "DequantizeLinear" else None


def _alone_down_to(start: ir.Node, end: ir.Node) -> bool:
    """Whether nothing but `end` reads what `start` dequantises."""
    node = start
    while node is not end:
        uses = node.outputs[0].uses()
        if len(uses) != 1 or node.outputs[0].is_graph_output():
            return False
        node = next(iter(uses)).node
    return True


def _scalar(value: ir.Value | None) -> np.ndarray | None:
    if value is None or value.const_value is None or value.const_value.size != 1:
        return None
    return value.const_value.numpy().reshape(())


SCALES_INTO_QUERIES = Rule("score scale in the queries' dequantisation", fold_score_scales)
KEYS_IN_TWO_STEPS = Rule("keys transposed in two steps", part_key_transposes)
