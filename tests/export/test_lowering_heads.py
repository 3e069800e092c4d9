"""Quantising attention's output before its heads are joined changes no bit."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from export.lowering.heads import quantise_heads

GRAPH = """<ir_version: 10, opset_import: ["" : 20]>
g (float[batch, 2, 5, 5] p, float[batch, 2, 5, %(width)d] v) => (y)
<float scale = {0.02}, int8 zero = {0}, int64[3] tokens = {-1, 5, %(joined)d}> {
    %(product)s
    t = Transpose<perm: ints = [0, 2, 1, 3]>(o)
    r = Reshape(t, tokens)
    q = QuantizeLinear<axis: int = 1>(r, scale, zero)
    y = DequantizeLinear<axis: int = 1>(q, scale, zero)
}"""


def graph(width: int, product: str = "o = MatMul(p, v)") -> ir.Model:
    text = GRAPH % {"width": width, "joined": 2 * width, "product": product}
    proto = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text))
    return ir.from_proto(proto)


def count(model: ir.Model) -> int:
    return sum(node.op_type == "QuantizeLinear" for node in model.graph)


def test_the_values_are_the_same_bit_for_bit() -> None:
    model, random = graph(64), np.random.default_rng(0)
    feed = {
        "p": random.random((3, 2, 5, 5), np.float32),
        "v": random.standard_normal((3, 2, 5, 64), np.float32),
    }
    before = ReferenceEvaluator(ir.to_proto(model)).run(None, feed)[0]
    after = quantise_heads(model)
    assert count(after) == 2
    product = next(node for node in after.graph if node.op_type == "MatMul")
    assert [use.node.op_type for use in product.outputs[0].uses()] == ["QuantizeLinear"]
    np.testing.assert_array_equal(ReferenceEvaluator(ir.to_proto(after)).run(None, feed)[0], before)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(graph(32), id="narrow heads"),
        pytest.param(graph(64, "o = Add(v, v)"), id="no product"),
        pytest.param(
            graph(64, "o = MatMul(p, v)\n unused = Relu(o)"), id="others read the product"
        ),
    ],
)
def test_left_alone(model: ir.Model) -> None:
    assert count(quantise_heads(model)) == 1
