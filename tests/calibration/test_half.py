"""FP16 lowering: exact types, and what would overflow stays float32."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from calibration.calibrate import Settings
from calibration.half import half_from_onnx
from calibration.quantise import quantised_from_onnx
from tests.calibration.float_graphs import (
    CHANNELS,
    HEADER,
    cosine,
    images,
    mlp,
    model_from_text,
    operators,
    run,
)


def types(model: ir.Model) -> dict[str, str]:
    return {str(n.name): n.outputs[0].dtype.name for n in model.graph if n.outputs[0].dtype}


def test_an_mlp_in_float16() -> None:
    batches = images(4, 5, CHANNELS)
    half = half_from_onnx(mlp(), batches, threads=1)
    # Casts: the input once, the norm's output; the last Add computes the answer, so fc2 and the
    # Adds after it are float32 and read the GELU through a cast.
    assert operators(half.model) == [
        "LayerNormalization", "Cast", "MatMul", "Add", "Gelu", "Cast", "MatMul", "Add", "Add",
    ]  # fmt: skip
    assert half.precision_map["norm"]["type"] == "fp32"
    assert half.precision_map["fc1"]["type"] == "fp16"
    assert half.model.graph.initializers["w1"].dtype == ir.DataType.FLOAT16
    assert half.model.graph.initializers["gamma"].dtype == ir.DataType.FLOAT
    feed = images(1, 5, CHANNELS, seed=4)[0]
    result = run(half.model, feed)[0]
    assert result.dtype == np.float32
    # Eleven bits, rounded a few times: 1e-3 relative error, 1e-6 in the cosine.
    assert cosine(result, run(mlp(), feed)[0]) > 0.99999


# The square of the hidden values overflows; the division brings them back.
OVERFLOWING = (
    HEADER
    + """
    g (float[batch, 16] x) => (float[batch, 16] z) {
        [grow] a = MatMul(x, w)
        [square] b = Mul(a, a)
        [shrink] c = Div(b, d)
        [act] e = Gelu(c)
        [out] z = MatMul(e, v)
    }"""
)


def overflowing(factor: float) -> ir.Model:
    eye = np.eye(16, dtype=np.float32)
    constants = {"w": eye * factor, "d": np.full(1, factor**2, np.float32), "v": eye}
    return model_from_text(OVERFLOWING, constants)


def test_what_overflows_stays_float32() -> None:
    model, batches = overflowing(200.0), images(8, 16)
    half = half_from_onnx(model, batches, threads=1)
    kept = {name for name, entry in half.precision_map.items() if entry["type"] == "fp32"}
    # Squares reach 200**2 * 9 = 360000. `out` computes the answer.
    assert kept == {"square", "shrink", "out"}
    assert "on calibration images" in half.precision_map["square"]["why"]
    feed = images(1, 16, seed=3)[0]
    exact, result = run(model, feed)[0], run(half.model, feed)[0]
    assert np.isfinite(result).all()
    # Values up to 10 rounded to eleven bits a few times.
    assert np.abs(result - exact).max() < 0.05
    with np.errstate(over="ignore"):
        assert np.isinf(np.square(feed["x"].astype(np.float16) * np.float16(200.0))).any()


def test_what_fits_is_lowered() -> None:
    half = half_from_onnx(overflowing(8.0), images(8, 16), threads=1)
    assert half.precision_map["square"]["type"] == "fp16"


def test_overflow_inside_a_local_function_keeps_the_call_float32() -> None:
    def model(factor: float) -> ir.Model:
        text = f"""<ir_version: 10, opset_import: ["" : 20, "custom" : 1]>
        g (float[batch, 16] x) => (float[batch, 16] z) {{
            y = custom.Attend<scale: float = {factor}>(x)
            a = Gelu(y)
            z = MatMul(a, v)
        }}
        <domain: "custom", opset_import: ["" : 20]>
        Attend <scale> (x) => (y) {{
            s = Constant<value_float: float = @scale>()
            f = CastLike(s, x)
            t = Mul(x, f)
            y = Softmax(t)
        }}"""
        return model_from_text(text, {"v": np.eye(16, dtype=np.float32)})

    batches = images(4, 16)
    for factor, expected in ((1e5, "fp32"), (2.0, "fp16")):
        half = half_from_onnx(model(factor), batches, threads=1)
        call = next(n for n in half.model.graph if n.op_type == "Attend")
        assert half.precision_map[str(call.name)]["type"] == expected
        # Probabilities to eleven bits.
        assert np.allclose(
            run(half.model, batches[0])[0], run(model(factor), batches[0])[0], rtol=0, atol=1e-3
        )


def test_a_function_written_for_float32_stays_float32() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20, "custom" : 1]>
    g (float[batch, 16] x) => (float[batch, 16] z) {
        [call] y = custom.Twice(x)
        [act] a = Gelu(y)
        [out] z = MatMul(a, v)
    }
    <domain: "custom", opset_import: ["" : 20]>
    Twice (x) => (y) {
        s = Constant<value_float: float = 2.0>()
        y = Mul(x, s)
    }"""
    half = half_from_onnx(
        model_from_text(text, {"v": np.eye(16, dtype=np.float32)}), images(2, 16), threads=1
    )
    assert half.precision_map["call"]["why"] == "its function body is written for float32"
    run(half.model, images(1, 16)[0])


@pytest.mark.parametrize("mask", [-3.4e38, -1e9, -np.inf], ids=["lowest", "billion", "infinity"])
def test_masks_are_clamped_and_do_not_keep_attention_float32(mask: float) -> None:
    text = (
        HEADER
        + """
    g (float[batch, 16] x) => (float[batch, 16] z) {
        [mask] m = Where(keep, zero, mask)
        [scores] s = Add(x, m)
        [softmax] p = Softmax(s)
        [act] e = Gelu(p)
        [out] z = MatMul(e, v)
    }"""
    )
    constants = {
        "keep": np.arange(16) < 10,
        "zero": np.zeros(1, np.float32),
        "mask": np.full(1, mask, np.float32),
        "v": np.eye(16, dtype=np.float32),
    }
    model, batches = model_from_text(text, constants), images(4, 16)
    half = half_from_onnx(model, batches, threads=1)
    assert half.precision_map["softmax"]["type"] == "fp16"
    # Probabilities to eleven bits.
    assert np.allclose(run(half.model, batches[0])[0], run(model, batches[0])[0], atol=1e-3)


def test_a_vanishing_epsilon_keeps_its_node_float32() -> None:
    text = (
        HEADER
        + """
    g (float[batch, 16] x) => (float[batch, 16] z) {
        [shift] y = Add(x, epsilon)
        [scale] u = Mul(y, y)
        [out] z = MatMul(u, v)
    }"""
    )
    constants = {"epsilon": np.full(1, 1e-9, np.float32), "v": np.eye(16, dtype=np.float32)}
    half = half_from_onnx(model_from_text(text, constants), images(2, 16), threads=1)
    assert half.precision_map["shift"]["why"] == "its constant 1e-09 underflows float16"
    assert half.precision_map["scale"]["type"] == "fp16"


def test_an_int8_graph_keeps_its_integers_and_scales() -> None:
    batches = images(8, 5, CHANNELS)
    quantised = quantised_from_onnx(mlp(), batches, Settings(threads=1)).model
    half = half_from_onnx(quantised, batches, threads=1).model
    for name, value in quantised.graph.initializers.items():
        ours = half.graph.initializers[name].const_value.numpy()
        if name.endswith(".scale") or value.dtype == ir.DataType.INT8:
            assert np.array_equal(ours, value.const_value.numpy())
    assert "FLOAT16" in types(half).values()
    feed = images(1, 5, CHANNELS, seed=6)[0]
    # A value near a rounding boundary may move by one of 127 steps.
    assert cosine(run(half, feed)[0], run(quantised, feed)[0]) > 0.9999


def test_control_flow_is_refused() -> None:
    text = (
        HEADER
        + """
    g (float[batch, 16] x, bool c) => (float[batch, 16] z) {
        [branch] z = If(c) <
            then_branch = t () => (float[batch, 16] a) { a = Gelu(x) },
            else_branch = e () => (float[batch, 16] b) { b = Relu(x) }
        >
    }"""
    )
    with pytest.raises(ValueError, match=r"'branch' \(If\) has a subgraph"):
        half_from_onnx(model_from_text(text), images(1, 16))
