"""Q/DQ graphs: exactly these operators, exactly these numbers."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from calibration.qdq import float16_scale, insert_qdq
from calibration.ranges import ChannelStatistics
from tests.calibration.float_graphs import (
    HEADER,
    attention_inputs,
    cosine,
    images,
    mlp,
    model_from_text,
    operators,
    reference,
    run,
)


def fake_quantised(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(x / scale), -128, 127) * scale


def linear(kind: str) -> tuple[ir.Model, np.ndarray, np.ndarray]:
    """One linear of the given form, its weights (in, out) and bias."""
    random = np.random.default_rng(2)
    matrix = random.normal(size=(20, 24)).astype(np.float32)
    bias = random.normal(size=24).astype(np.float32)
    bodies = {
        "matmul": "[fc] p = MatMul(x, w)\n y = Add(p, b)",
        "matmul-bias-first": "[fc] p = MatMul(x, w)\n y = Add(b, p)",
        "gemm": "[fc] y = Gemm(x, w, b)",
        "gemm-transposed": "[fc] y = Gemm<transB: int = 1>(x, w, b)",
    }
    text = HEADER + f"g (float[batch, 20] x) => (float[batch, 24] y) {{ {bodies[kind]} }}"
    stored = np.ascontiguousarray(matrix.T) if kind == "gemm-transposed" else matrix
    return model_from_text(text, {"w": stored, "b": bias}), matrix, bias


@pytest.mark.parametrize("kind", ["matmul", "matmul-bias-first", "gemm", "gemm-transposed"])
def test_numbers_equal_the_closed_form(kind: str) -> None:
    model, matrix, bias = linear(kind)
    quantised = insert_qdq(model, {"x": 2.5}, {"fc"})
    feed = images(1, 20)[0]
    x_scale, w_scale = float16_scale(2.5), float16_scale(np.abs(matrix).max(axis=0))
    expected = fake_quantised(feed["x"], x_scale) @ fake_quantised(matrix, w_scale) + bias
    # Sums of 20 products of order 1 in float32.
    for result in (run(quantised, feed)[0], reference(quantised, feed)[0]):
        assert np.allclose(result, expected, rtol=0, atol=1e-5)


def test_operators_of_an_mlp() -> None:
    quantised = insert_qdq(mlp(), {"normed": 3.0, "active": 4.0}, {"fc1", "fc2"})
    assert operators(quantised) == [
        "LayerNormalization",
        "QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "MatMul", "Add",
        "Gelu",
        "QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "MatMul", "Add",
        "Add",
    ]  # fmt: skip


def test_zero_points_and_axes_are_always_written() -> None:
    quantised = insert_qdq(attention_inputs(transposed=True), {"n": 3.0}, {"q", "k"})
    nodes = [node for node in quantised.graph if "Linear" in node.op_type]
    assert len(nodes) == 4
    for node in nodes:
        zero = node.inputs[2].const_value.numpy()
        assert zero.dtype == np.int8
        assert not zero.any()
        of_weight = zero.ndim == 1
        assert node.attributes["axis"].as_int() == (0 if of_weight else 1)


def test_linears_that_share_an_input_share_its_quantiser() -> None:
    quantised = insert_qdq(attention_inputs(), {"n": 3.0}, {"q", "k", "v"})
    assert operators(quantised).count("QuantizeLinear") == 1
    sources = {node.inputs[0] for node in quantised.graph if node.op_type == "MatMul"}
    assert len(sources) == 1


def test_a_shared_weight_stays_float_for_its_other_reader() -> None:
    text = (
        HEADER
        + """
    g (float[batch, 16] x) => (float[batch, 16] y) {
        [a] p = MatMul(x, w)
        [b] y = MatMul(p, w)
    }"""
    )
    weight = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    quantised = insert_qdq(model_from_text(text, {"w": weight}), {"x": 3.0}, {"a"})
    last = list(quantised.graph)[-1]
    assert last.inputs[1].const_value.numpy().dtype == np.float32
    run(quantised, images(1, 16)[0])


def test_bias_takes_up_the_mean_error() -> None:
    model, _, _ = linear("matmul")
    rows = np.random.default_rng(7).normal(1.0, 0.1, (64, 20)).astype(np.float32)
    statistics = ChannelStatistics()
    for i in range(4):
        statistics.add(rows[None, 16 * i : 16 * i + 16])
    feed, exact = {"x": rows}, run(model, {"x": rows})[0]
    plain = run(insert_qdq(model, {"x": 1.5}, {"fc"}), feed)[0] - exact
    corrected = run(insert_qdq(model, {"x": 1.5}, {"fc"}, {"x": statistics}), feed)[0] - exact
    # All rows were sampled, so nothing of the mean is left but float32 sums of 64 rows.
    assert np.abs(corrected.mean(axis=0)).max() < 1e-5
    assert np.abs(plain.mean(axis=0)).max() > 1e-3


def test_scales_are_float16_numbers_that_cover_the_threshold() -> None:
    thresholds = np.array([1e-9, 3e-4, 0.1, 1.0, 217.3, 60000.0])
    scales = float16_scale(thresholds)
    assert np.array_equal(scales, scales.astype(np.float16))
    assert np.all(scales.astype(np.float64) * 127 >= thresholds)


def conv(after: str) -> ir.Model:
    random = np.random.default_rng(0)
    text = (
        HEADER
        + f"""
    g (float[1, 16, 4, 4] x) => (y) {{
        [conv] c = Conv<kernel_shape: ints = [1, 1]>(x, k, cb)
        {after}
        [fc] y = MatMul(t, w)
    }}"""
    )
    constants = {
        "k": random.normal(size=(16, 16, 1, 1)),
        "cb": random.normal(size=16),
        "w": random.normal(size=(16, 16)),
    }
    floats = {name: array.astype(np.float32) for name, array in constants.items()}
    return model_from_text(text, floats | {"rows": np.array([1, 16, 16])})


def test_a_conv_bias_that_layout_changes_lead_to_a_quantiser_stands_alone() -> None:
    tokens = "f = Reshape(c, rows)\n t = Transpose<perm: ints = [0, 2, 1]>(f)"
    model = conv(tokens)
    quantised = insert_qdq(model, {"t": 20.0, "x": 4.0}, {"fc", "conv"})
    at = operators(quantised).index("Conv")
    assert operators(quantised)[at : at + 2] == ["Conv", "Add"]
    rectified = "r = Relu(c)\n" + tokens.replace("(c, rows)", "(r, rows)")
    assert "Add" not in operators(insert_qdq(conv(rectified), {"t": 5.0}, {"fc"}))
    feed = {"x": images(1, 16, 4, 4)[0]["x"]}
    # Eight bits in two layers in a row: about 1 % noise each.
    assert cosine(run(quantised, feed)[0], run(model, feed)[0]) > 0.999


def test_openvino_agrees_where_a_conv_feeds_a_quantiser() -> None:
    openvino = pytest.importorskip("openvino")
    tokens = "f = Reshape(c, rows)\n t = Transpose<perm: ints = [0, 2, 1]>(f)"
    quantised = insert_qdq(conv(tokens), {"t": 8.0}, {"fc"})
    feed = {"x": images(1, 16, 4, 4)[0]["x"]}
    core = openvino.Core()
    model = core.read_model(ir.to_proto(quantised).SerializeToString())
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    theirs = compiled(feed)[0]
    # Two rounding flips of one step (0.06) times weights of order 1.
    assert np.abs(theirs - run(quantised, feed)[0]).max() < 0.3


def test_refusals() -> None:
    model, _, _ = linear("matmul")
    with pytest.raises(ValueError, match="'other' is not a linear of the graph"):
        insert_qdq(model, {"x": 1.0}, {"other"})
    with pytest.raises(ValueError, match="no threshold for 'x', the input of 'fc'"):
        insert_qdq(model, {}, {"fc"})
