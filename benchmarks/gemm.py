"""How many multiply-accumulates a second this machine does in one large matrix product."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.arithmetic import Work
from benchmarks.groups import profile

# Rows, inputs, outputs: a square product, and the widest linears of ViT-B and Swin-T at batch 8.
SHAPES = ((4096, 4096, 4096), (1576, 768, 3072), (1576, 3072, 768), (1568, 384, 1536))


def best_rate(kind: str, rounds: int = 7) -> tuple[float, tuple[int, int, int]]:
    """The best rate over `SHAPES` in OpenVINO, in multiply-accumulates a second, and its shape.

    Only the product's own time counts (its profile): quantising its input is not arithmetic.

    Args:
        kind: "int8" (S8 activations and weights, per output channel) or "float" (float32).
        rounds: timed runs of each shape; the median counts.

    Raises:
        ValueError: OpenVINO ran an int8 product in float.
    """
    rates = {}
    for shape in SHAPES:
        rows, inputs, _ = shape
        noise = np.random.default_rng(0).standard_normal((rows, inputs), np.float32)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "product.onnx"
            onnx.save(matrix_product(shape, int8=kind == "int8"), file)
            spent = profile(file, {"source": noise}, rounds).groups
        group = Work.INT8_LINEAR if kind == "int8" else Work.FLOAT_LINEAR
        if spent.get(group, 0) == 0:
            raise ValueError(f"OpenVINO ran no {kind} product at {shape}; found {spent}")
        rates[shape] = float(np.prod(shape, dtype=np.int64)) / (1e-3 * spent[group])
    shape = max(rates, key=rates.__getitem__)
    return rates[shape], shape


def matrix_product(shape: tuple[int, int, int], *, int8: bool) -> onnx.ModelProto:
    """`source` (rows, inputs) times a constant matrix, float32, with Q/DQ where `int8`."""
    rows, inputs, outputs = shape
    rng = np.random.default_rng(1)
    weight = (rng.standard_normal((inputs, outputs), np.float32) / np.sqrt(inputs)).astype("f")
    constants, nodes, operands = {"weight": weight}, [], ["source", "weight"]
    if int8:
        scale = np.abs(weight).max(0) / 127
        constants = {
            "weight": np.round(weight / scale).astype(np.int8),
            "weight_scale": scale,
            "weight_zero": np.zeros(outputs, np.int8),
            "scale": np.float32(4 / 127),  # four standard deviations of the source
            "zero": np.int8(0),
        }
        nodes = [
            helper.make_node("QuantizeLinear", ["source", "scale", "zero"], ["quantised"]),
            helper.make_node("DequantizeLinear", ["quantised", "scale", "zero"], ["left"]),
            helper.make_node(
                "DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["right"], axis=1
            ),
        ]
        operands = ["left", "right"]
    nodes.append(helper.make_node("MatMul", operands, ["product"], name="product"))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "product",
        [value("source", TensorProto.FLOAT, [rows, inputs])],
        [value("product", TensorProto.FLOAT, [rows, outputs])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
