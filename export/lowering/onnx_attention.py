"""FusedAttention as ONNX's own Attention, of opset 23 and later.

    vitrine::FusedAttention(q, k, v, bias) {scale}  ->  Attention(q, k, v, bias) {scale}

Both are softmax(scale · q k^T + bias) v on (B, H, N, D)
(https://onnx.ai/onnx/operators/onnx__Attention.html); a bias that is nothing but zeros is left
out. TensorRT's parser knows the operator from 10.14 on. Without a fused kernel for the shape it
would refuse to build, unless `TRT_decomposable` lets it fall back to primitives.
"""

from __future__ import annotations

import onnx_ir as ir

from calibration.linears import constant
from export.lowering.emit import Emitter, replace
from export.lowering.rule import Rule
from export.operators import DOMAIN

OPSET = 23


def _as_attention(model: ir.Model) -> ir.Model:
    for node in list(model.graph):
        if node.domain == DOMAIN and node.op_type == "FusedAttention":
            emit, (query, key, value, bias) = Emitter(node), node.inputs
            assert query is not None and key is not None and value is not None
            given = [query, key, value]
            array = constant(bias)
            if bias is not None and (array is None or array.any()):
                given.append(bias)
            attributes = {"scale": node.attributes["scale"].as_float()}
            shape = node.outputs[0].shape
            found = emit.op(
                "Attention", given, list(shape) if shape else [None] * 4, "onnx", attributes
            )
            replace(node.outputs[0], found)
            emit.graph.remove(node, safe=True)
    model.graph.opset_imports[""] = OPSET
    return model


ONNX_ATTENTION = Rule("ONNX's own attention", _as_attention)
