"""Attention whose queries and keys are int8, in the form that back ends run in int8.

Keys pass two Transposes, heads first and then rows against columns. As one, OpenVINO moves every
byte for itself; apart, it folds the second into the product. They stay apart when a Q/DQ stands
between them, and quantising dequantised values by their own scale changes none.
"""

from __future__ import annotations

import onnx_ir as ir

from export.lowering.emit import quantised_again
from export.lowering.rule import Rule

_LAYOUT = frozenset({"Reshape", "Transpose", "Gather", "Squeeze", "Unsqueeze"})
_HEADS_FIRST, _MERGED, _ROWS_AGAINST_COLUMNS = (0, 2, 1, 3), (0, 2, 3, 1), (0, 1, 3, 2)


def part_key_transposes(model: ir.Model) -> ir.Model:
    """In place."""
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
    heads.outputs[0].name = f"{name}.output"
    pair = quantised_again(heads.outputs[0], dequantise, name)
    graph.insert_before(transpose, [heads, *pair])
    transpose.replace_input_with(0, pair[-1].outputs[0])
    transpose.attributes["perm"] = ir.AttrInt64s("perm", _ROWS_AGAINST_COLUMNS)


def _dequantise_above(value: ir.Value | None) -> ir.Node | None:
    """The DequantizeLinear from which `value` comes through layout changes alone."""
    node = None if value is None else value.producer()
    while node is not None and node.op_type in _LAYOUT and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node if node is not None and node.op_type == "DequantizeLinear" else None


KEYS_IN_TWO_STEPS = Rule("keys transposed in two steps", part_key_transposes)
