"""Outputs of ReLUs as uint8: the same numbers, clipped where int8 clips."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from small_graphs import graph_of, operators

from export.lowering.relu import RELUS_UNSIGNED

STEP = np.float32(0.125)


def quantised_relu(pool: bool, shared: bool = False) -> ir.Model:
    """x -> Relu (-> MaxPool) -> Q -> DQ -> y; `shared` adds a float reader of the ReLU."""
    nodes = [helper.make_node("Relu", ["x"], ["r"])]
    source = "r"
    if pool:
        nodes.append(helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]))
        source = "p"
    nodes += [
        helper.make_node("QuantizeLinear", [source, "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("ReduceMax", ["r"], ["m"], keepdims=1),
        helper.make_node("Add", ["d", "m" if shared else "zero"], ["y"]),
    ]
    if not shared:
        del nodes[-2]
    side = 4 if pool else 8
    constants = {"s": STEP, "z": np.int8(0), "zero": np.zeros(1, "f")}
    shapes = {"x": ("n", 3, 8, 8), "y": ("n", 3, side, side)}
    return graph_of(nodes, shapes, {k: np.asarray(v) for k, v in constants.items()})


def output(model: ir.Model) -> np.ndarray:
    # Up to 5 times the largest number that int8 holds, so that much of it is clipped.
    x = np.random.default_rng(0).normal(0, 127 * STEP * 2, (2, 3, 8, 8)).astype("f")
    return np.asarray(ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})[0])


@pytest.mark.parametrize("pool", [False, True], ids=["plain", "pooled"])
def test_the_numbers_stay(pool: bool) -> None:
    model = quantised_relu(pool)
    before = output(model)
    found = RELUS_UNSIGNED.apply(model.clone())
    order = ["Clip", "QuantizeLinear", "DequantizeLinear", *["MaxPool"] * pool, "Add"]
    assert operators(found) == order
    quantise = next(node for node in found.graph if node.op_type == "QuantizeLinear")
    assert quantise.inputs[2].const_value.dtype == ir.DataType.UINT8
    assert before.max() == 127 * STEP
    np.testing.assert_array_equal(output(found), before)


def test_a_relu_that_others_read_stays() -> None:
    model = quantised_relu(pool=False, shared=True)
    assert operators(RELUS_UNSIGNED.apply(model.clone())) == operators(model)
