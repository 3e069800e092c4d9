"""What attention returns, quantised before its heads are joined.

Transpose and Reshape move values and change none, so they commute with a quantiser that has one
scale; and quantising dequantised values by their own scale changes none. With a second Q/DQ right
after the product OpenVINO quantises inside its attention kernel and moves a quarter of the bytes.
For heads of 32 (Swin, DETR) its int8 Transpose takes more time than that saves.
"""

from __future__ import annotations

import onnx_ir as ir

from calibration.linears import constant
from export.lowering.emit import quantised_again
from export.lowering.rule import Rule

_LAYOUT = frozenset({"Reshape", "Transpose"})
_WIDE = 64


def quantise_heads(model: ir.Model) -> ir.Model:
    """In place."""
    for node in list(model.graph):
        if node.op_type == "QuantizeLinear" and not node.domain:
            heads = _heads_above(node)
            if heads is not None:
                _quantise(model.graph, heads, node)
    return model


def _heads_above(quantise: ir.Node) -> ir.Value | None:
    """The product of two activations from which layout changes alone lead to the quantiser."""
    scale, value = constant(quantise.inputs[1]), quantise.inputs[0]
    if scale is None or scale.size != 1 or value is None:
        return None
    node, moved = value.producer(), False
    while node is not None and node.op_type in _LAYOUT and len(value.uses()) == 1:
        value, moved = node.inputs[0], True
        assert value is not None
        node = value.producer()
    if node is None or node.op_type != "MatMul" or not moved or len(value.uses()) != 1:
        return None
    if constant(node.inputs[1]) is not None or value.shape is None:
        return None
    width = value.shape[-1]
    return value if isinstance(width, int) and width >= _WIDE else None


def _quantise(graph: ir.Graph, heads: ir.Value, like: ir.Node) -> None:
    (reader, index), product = next(iter(heads.uses())), heads.producer()
    assert product is not None
    pair = quantised_again(heads, like, f"{like.name}.heads")
    graph.insert_after(product, pair)
    reader.replace_input_with(index, pair[-1].outputs[0])


QUANTISED_HEADS = Rule("attention quantised before its heads are joined", quantise_heads)
