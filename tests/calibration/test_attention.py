"""Int8 scores: what is quantised, where, and how little it moves."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from calibration.attention import attentions, quantise_scores, score_inputs
from calibration.calibrate import Settings, calibrate
from calibration.quantise import quantise
from calibration.switchable import Switchable

TOKENS, WIDTH, HEADS, SCALE = 5, 16, 2, 0.35
OUTPUT = f"float[batch, {HEADS}, {TOKENS}, {WIDTH // HEADS}] y"
TEXT = f"""
<ir_version: 10, opset_import: ["" : 20, "vitrine" : 1]>
block (float[batch, {TOKENS}, {WIDTH}] x) => ({OUTPUT}) {{
    [q_proj] q0 = MatMul(x, wq)
    [q_bias] q = Add(q0, bq)
    [k_proj] k = MatMul(x, wk)
    [v_proj] v = MatMul(x, wv)
    [q_split] q1 = Reshape(q, heads)
    [q_heads] q2 = Transpose<perm: ints = [0, 2, 1, 3]>(q1)
    [k_split] k1 = Reshape(k, heads)
    [k_heads] k2 = Transpose<perm: ints = [0, 2, 1, 3]>(k1)
    [v_split] v1 = Reshape(v, heads)
    [v_heads] v2 = Transpose<perm: ints = [0, 2, 1, 3]>(v1)
    [attention] y = vitrine.FusedAttention<scale: float = {SCALE}>(q2, k2, v2)
}}
<domain: "vitrine", opset_import: ["" : 20]>
FusedAttention <scale>(q, k, v) => (y) {{
    factor = Constant<value_float: float = @scale>()
    scaled = Mul(q, factor)
    kt = Transpose<perm: ints = [0, 1, 3, 2]>(k)
    scores = MatMul(scaled, kt)
    p = Softmax<axis: int = -1>(scores)
    y = MatMul(p, v)
}}
"""


def block() -> ir.Model:
    random = np.random.default_rng(0)
    proto = onnx.parser.parse_model(TEXT)
    arrays = {name: random.normal(0, 0.3, (WIDTH, WIDTH)) for name in ("wq", "wk", "wv")}
    arrays["bq"] = random.normal(size=WIDTH)
    constants = {name: array.astype(np.float32) for name, array in arrays.items()}
    constants["heads"] = np.array([0, TOKENS, HEADS, WIDTH // HEADS])
    for name, array in constants.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def run(model: ir.Model, feed: np.ndarray, extra: tuple[str, ...] = ()) -> list[np.ndarray]:
    proto = ir.to_proto(model)
    for name in extra:
        proto.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, None))
    return [np.asarray(found) for found in ReferenceEvaluator(proto).run(None, {"x": feed})]


def test_queries_and_keys_are_found_where_they_leave_their_linears() -> None:
    model = block()
    assert attentions(model) == ["attention"]
    assert score_inputs(model, ["attention"]) == ["q", "k"]
    assert score_inputs(model, []) == []


def test_scores_are_those_of_rounded_queries_and_keys() -> None:
    model = block()
    feed = np.random.default_rng(1).normal(size=(3, TOKENS, WIDTH)).astype(np.float32)
    _, q, k, v = run(model, feed, ("q", "k", "v"))
    limits = {"q": float(np.abs(q).max()), "k": float(np.abs(k).max())}
    quantised = quantise_scores(model, limits, ["attention"])
    found = run(quantised, feed)[0]

    def rounded(values: np.ndarray, limit: float) -> np.ndarray:
        # The scale in the graph is limit / 127 rounded up to a float16.
        step = np.float16(limit / 127)
        step = step if float(step) >= limit / 127 else np.nextafter(step, np.float16(1))
        return np.clip(np.rint(values / np.float32(step)), -128, 127) * np.float32(step)

    def heads(values: np.ndarray) -> np.ndarray:
        return values.reshape(3, TOKENS, HEADS, -1).transpose(0, 2, 1, 3)

    keys = heads(rounded(k, limits["k"])).swapaxes(-1, -2)
    scores = heads(rounded(q, limits["q"])) * SCALE @ keys
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    expected = weights / weights.sum(-1, keepdims=True) @ heads(v)
    # float32 sums of at most 8 terms of order 1, in another order.
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # And int8 is at work: the float graph is further away than rounding errors reach.
    assert np.abs(run(model, feed)[0] - found).max() > 1e-4


def test_values_and_softmax_stay_float() -> None:
    quantised = quantise_scores(block(), {"q": 1.0, "k": 1.0}, ["attention"])
    quantisers = [node for node in quantised.graph if node.op_type == "QuantizeLinear"]
    assert [str(node.inputs[0].name) for node in quantisers] == ["q", "k"]
    assert all(node.inputs[2].const_value.numpy() == 0 for node in quantisers)


def test_scores_switch_with_their_attention() -> None:
    model, feed = block(), np.random.default_rng(2).normal(size=(1, TOKENS, WIDTH)).astype("f")
    images = [{"x": feed}]
    names = ["attention", "q_proj", "k_proj"]
    calibrated = calibrate(model, names, images, Settings(smooth=False, threads=1))
    graph = Switchable(calibrated, names[1:], ["attention"], threads=1)
    for int8 in ([], ["attention"], ["q_proj"], ["attention", "k_proj"]):
        expected = run(quantise(calibrated, int8), feed)[0]
        # Sums of at most 16 terms of order 1 in another order. A flag that is ignored shows as
        # one step of a query or key, above 1e-3.
        np.testing.assert_allclose(graph.run({"x": feed}, int8)[0], expected, atol=1e-5)


def test_a_name_that_is_no_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="'q_proj' is not an attention"):
        quantise_scores(block(), {}, ["q_proj"])
