"""Attention written out, with Q/DQ on both operands of both products.

    q -> Mul(scale) -> Q/DQ -+
    k -> Transpose  -> Q/DQ -+-> MatMul -> Add(bias) -> Softmax -> Q/DQ -+
    v ------------------------------------------------------------> Q/DQ -+-> MatMul

Each DequantizeLinear feeds its product with nothing in between, which is where TensorRT looks for
int8 attention; so the scale and the transposed keys come before the quantisers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from calibration.attention_products import Products
from calibration.linears import add_constant, constant, private_copy
from calibration.qdq import quantise_activation


def quantise_products(model: ir.Model, chosen: Mapping[str, Products]) -> ir.Model:
    """The graph with both products of the named attentions in int8.

    Args:
        model: in float32 around its attentions; left as it is.
        chosen: what `measure_products` found, by the name of a FusedAttention node. The first
            product takes the name.

    Raises:
        ValueError: a name is not a FusedAttention of the graph.
    """
    copy = private_copy(model)
    nodes = {str(node.name): node for node in copy.graph if node.op_type == "FusedAttention"}
    missing = sorted(set(chosen) - set(nodes))
    if missing:
        raise ValueError(f"{missing[0]!r} is not a FusedAttention of the graph")
    for name, products in chosen.items():
        _write_out(copy.graph, nodes[name], products)
    return copy


def _write_out(graph: ir.Graph, node: ir.Node, limits: Products) -> None:
    name, (query, key, value) = str(node.name), node.inputs[:3]
    bias = node.inputs[3] if len(node.inputs) > 3 else None
    assert query is not None and key is not None and value is not None
    assert query.shape is not None and key.shape is not None and value.shape is not None
    node.name = f"{name}.fused"  # frees the name, which the first product takes
    batch, heads, rows, channels = query.shape
    keys = key.shape[2]

    def op(op_type: str, inputs: Sequence[ir.Value], shape: Sequence[Any], **more: Any) -> ir.Value:
        label = more.pop("name", f"{name}.{op_type.lower()}")
        made = ir.node(op_type, inputs, more, name=label)
        graph.insert_before(node, made)
        out = made.outputs[0]
        out.name, out.shape, out.type = f"{label}.output", ir.Shape(shape), query.type
        return out

    def int8(operand: ir.Value, most: float) -> ir.Value:
        restored = quantise_activation(graph, operand, most or 1.0)
        restored.type = operand.type
        return restored

    scale = add_constant(
        graph, f"{name}.scale", np.array(node.attributes["scale"].as_float(), np.float32)
    )
    scaled = op("Mul", [query, scale], [batch, heads, rows, channels])
    columns = op("Transpose", [key], [batch, heads, channels, keys], perm=[0, 1, 3, 2])
    left, right = int8(scaled, limits.query), int8(columns, limits.key)
    scores = op("MatMul", [left, right], [batch, heads, rows, keys], name=name)
    zeros = constant(bias)
    if bias is not None and (zeros is None or zeros.any()):
        scores = op("Add", [scores, bias], [batch, heads, rows, keys])
    weights = op("Softmax", [scores], [batch, heads, rows, keys], axis=-1)
    left, right = int8(weights, limits.probability), int8(value, limits.value)
    old, shape = node.outputs[0], [batch, heads, rows, value.shape[3]]
    mixed = op("MatMul", [left, right], shape, name=f"{name}.values")
    if old.is_graph_output():
        old.name, mixed.name = f"{old.name}.replaced", old.name
    ir.convenience.replace_all_uses_with(old, mixed, replace_graph_outputs=True)
    graph.remove(node, safe=True)
