"""A small quantised graph that OpenVINO 2026.4 misreads when the Conv's output is quantised too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save_patch_graph(path: Path, *, quantise_conv_output: bool) -> None:
    """Patch embedding, class token, quantised head: `pixel_values` (batch, 3, 32, 32) -> `logits`.

    The convolution's bias differs between channels; with Q/DQ on its output OpenVINO behaves as if
    every channel had the first one's.
    """
    rng = np.random.default_rng(0)
    conv = (0.05 * rng.normal(size=(32, 3, 8, 8))).astype(np.float32)
    head = rng.normal(size=(32, 10)).astype(np.float32)
    conv_scale = np.abs(conv).max((1, 2, 3)) / 127
    head_scale = np.abs(head).max(0) / 127
    constants = {
        "input_scale": np.float32(0.03),
        "hidden_scale": np.float32(0.06),
        "zero": np.int8(0),
        "bias": np.linspace(-4, 4, 32).astype(np.float32),
        "conv_q": np.round(conv / conv_scale[:, None, None, None]).astype(np.int8),
        "conv_scale": conv_scale.astype(np.float32),
        "conv_zero": np.zeros(32, np.int8),
        "head_q": np.round(head / head_scale).astype(np.int8),
        "head_scale": head_scale.astype(np.float32),
        "head_zero": np.zeros(10, np.int8),
        "rows": np.array([0, 32, -1]),
        "token": rng.normal(size=(1, 1, 32)).astype(np.float32),
        "one_token": np.array([1, 32]),
        "position": rng.normal(size=(1, 17, 32)).astype(np.float32),
        "axis": np.array([1]),
    }
    hidden = "conv_out"
    nodes = [
        *_quantised("image", "pixel_values", "input_scale"),
        helper.make_node("DequantizeLinear", ["conv_q", "conv_scale", "conv_zero"], ["w"], axis=0),
        helper.make_node("Conv", ["image", "w", "bias"], [hidden], strides=[8, 8]),
    ]
    if quantise_conv_output:
        nodes += _quantised("conv_dq", hidden, "hidden_scale")
        hidden = "conv_dq"
    nodes += [
        helper.make_node("Reshape", [hidden, "rows"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["patches"], perm=[0, 2, 1]),
        helper.make_node("Shape", ["pixel_values"], ["batch"], start=0, end=1),
        helper.make_node("Concat", ["batch", "one_token"], ["token_shape"], axis=0),
        helper.make_node("Expand", ["token", "token_shape"], ["tokens"]),
        helper.make_node("Concat", ["tokens", "patches"], ["sequence"], axis=1),
        helper.make_node("Add", ["sequence", "position"], ["embedded"]),
        *_quantised("head_in", "embedded", "hidden_scale"),
        helper.make_node("DequantizeLinear", ["head_q", "head_scale", "head_zero"], ["h"], axis=1),
        helper.make_node("MatMul", ["head_in", "h"], ["scores"]),
        helper.make_node("ReduceMean", ["scores", "axis"], ["logits"], keepdims=0),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "patches",
        [value("pixel_values", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [value("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _quantised(name: str, source: str, scale: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("QuantizeLinear", [source, scale, "zero"], [f"{name}_q"]),
        helper.make_node("DequantizeLinear", [f"{name}_q", scale, "zero"], [name]),
    ]
