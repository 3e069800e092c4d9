"""Queries and keys of attention without Q/DQ.

TensorRT fuses attention in INT8 only when both of its products are quantised (NVIDIA/TensorRT
issues 3243 and 1992), and up to 512 tokens. Probabilities do not survive symmetric int8
(`calibration.attention`), so ours never are, and a graph in which the scores alone are would run
as two products with a softmax through memory between them. Without that Q/DQ the attention fuses
in FP16, which is faster and loses less:

    FusedAttention(DQ(Q(q)), DQ(Q(k)), v)  ->  FusedAttention(q, k, v)

This rule removes roundings and adds none, so a drift that was measured with them is an upper bound
in all but luck.
"""

from __future__ import annotations

import onnx_ir as ir

from calibration.attention import queries_and_keys
from export.lowering.rule import Rule
from export.operators import DOMAIN


def _without_qdq(model: ir.Model) -> ir.Model:
    for node in list(model.graph):
        if node.domain == DOMAIN:
            for value in queries_and_keys(node):
                _bypass(value)
    return model


def _bypass(restored: ir.Value) -> None:
    """Readers of DQ(Q(x)) read x."""
    dequantise = restored.producer()
    if dequantise is None or dequantise.op_type != "DequantizeLinear":
        return
    quantised = dequantise.inputs[0]
    quantise = None if quantised is None else quantised.producer()
    if quantise is None or quantise.op_type != "QuantizeLinear" or quantise.inputs[0] is None:
        return
    for reader, index in tuple(restored.uses()):
        reader.replace_input_with(index, quantise.inputs[0])


SCORES_FLOAT = Rule("scores in float", _without_qdq)
