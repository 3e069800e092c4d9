"""Int8 scores: queries and keys quantised, softmax and its product with the values left float.

q k^T in int8 hardly moves a model (ViT-Tiny, ImageNet, 160 images: logit cosine 0.99995), whereas
probabilities in symmetric int8 do not survive (0.989): most of the 197 in a row are below half a
step of 1/127. So Q/DQ goes on queries and keys alone; shorter rows may do with both products in
int8, which is measured for GPUs (`calibration.attention_products`). Q/DQ sits on the output of the
linear that computes them, before heads are split, where a back end can let the linear write int8
and the reshaping move a quarter of the bytes; per-tensor scales make the place irrelevant for the
result.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx_ir as ir

from calibration.linears import private_copy
from calibration.qdq import quantise_activation

_LAYOUT = frozenset({"Reshape", "Transpose", "Gather", "Squeeze", "Unsqueeze"})


def attentions(model: ir.Model) -> list[str]:
    """The attention operators whose queries and keys are computed tensors, in graph order."""
    return [str(node.name) for node in model.graph if _scores_are_computed(node)]


def score_inputs(model: ir.Model, names: Collection[str]) -> list[str]:
    """The tensors of the named attentions that become int8, each once: queries and keys."""
    found = [
        str(value.name)
        for node in model.graph
        if node.name in names
        for value in queries_and_keys(node)
    ]
    return list(dict.fromkeys(found))


def quantise_scores(
    model: ir.Model, thresholds: Mapping[str, float], names: Collection[str]
) -> ir.Model:
    """Puts Q/DQ on the queries and keys of the named attentions.

    Args:
        model: Left as it is.
        thresholds: Clipping threshold by value name, of `score_inputs`.
        names: Attention operators.

    Raises:
        ValueError: A name is not an attention operator of the graph.
    """
    copy = private_copy(model)
    nodes = {str(node.name): node for node in copy.graph if _scores_are_computed(node)}
    missing = sorted(set(names) - set(nodes))
    if missing:
        raise ValueError(f"{missing[0]!r} is not an attention of the graph; it cannot be int8")
    values = dict.fromkeys(
        value for name in nodes if name in names for value in queries_and_keys(nodes[name])
    )
    for value in values:
        readers = tuple(value.uses())
        restored = quantise_activation(copy.graph, value, thresholds[str(value.name)])
        for node, index in readers:
            node.replace_input_with(index, restored)
    return copy


def float_scores(model: ir.Model) -> ir.Model:
    """Takes the Q/DQ off queries and keys again, in place; what the linears write stays as it is.

    For back ends that run half-quantised attention worse than float attention. TensorRT fuses
    attention in INT8 only when both of its products are quantised (NVIDIA/TensorRT issues 3243 and
    1992), which probabilities rarely survive; without Q/DQ it fuses it in FP16.
    """
    for node in list(model.graph):
        for value in queries_and_keys(node) if node.domain == "vitrine" else ():
            dequantise = value.producer()
            if dequantise is None or dequantise.op_type != "DequantizeLinear":
                continue
            quantised = dequantise.inputs[0]
            quantise = None if quantised is None else quantised.producer()
            if quantise is not None and quantise.op_type == "QuantizeLinear":
                for reader, index in tuple(value.uses()):
                    reader.replace_input_with(index, quantise.inputs[0])
    return model


def _scores_are_computed(node: ir.Node) -> bool:
    return node.domain == "vitrine" and bool(queries_and_keys(node))


def queries_and_keys(node: ir.Node) -> list[ir.Value]:
    """Queries and keys where they leave their linears; empty when either is a constant.

    WindowAttention takes them, and the values, as one tensor, which must be a Concat of three.
    """
    given = list(node.inputs[:2])
    if node.op_type == "WindowAttention" and node.inputs[0] is not None:
        parts = _before_layout(node.inputs[0]).producer()
        three = parts is not None and parts.op_type == "Concat" and len(parts.inputs) == 3
        given = list(parts.inputs[:2]) if parts is not None and three else []
    found = [_before_layout(value) for value in given if value is not None]
    return found if all(value.producer() is not None for value in found) else []


def _before_layout(value: ir.Value) -> ir.Value:
    """Up through nodes that only move elements, as long as nothing else reads what they move."""
    node = value.producer()
    while node is not None and node.op_type in _LAYOUT and not node.domain:
        source = node.inputs[0]
        if len(value.uses()) != 1 or source is None or source.producer() is None:
            break
        value, node = source, source.producer()
    return value
