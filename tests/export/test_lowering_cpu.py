"""Lowering for CPU back ends: the same values in plain operators, and no rule applied too far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from exported_models import Exported
from onnx import helper
from small_graphs import graph_of, operators, run
from tiny_models import inputs

from calibration.attention import attentions
from calibration.calibrate import Settings
from calibration.quantise import int8_names, quantised_from_onnx
from export.lowering.cpu import lowered

# The lowered graph sums in another order (an added zero and identity copies are gone, and ONNX
# Runtime fuses differently): a few units in the last place of values of order 1, through layers.
TOLERANCE = 2e-5


def fused_attention(bias: tuple[int, ...]) -> ir.Model:
    node = helper.make_node(
        "FusedAttention", ["q", "k", "v", "bias"], ["y"], domain="vitrine", scale=0.5
    )
    values = {"q": ("n", 2, 4, 8), "k": ("n", 2, 4, 8), "v": ("n", 2, 4, 8), "y": ("n", 2, 4, 8)}
    return graph_of([node], values, {"bias": np.zeros(bias, np.float32)}, ("FusedAttention",))


def test_attention_without_bias_is_five_operators() -> None:
    found = operators(lowered(fused_attention((1,))))
    assert found == ["Mul", "Transpose", "MatMul", "Softmax", "MatMul"]


@pytest.mark.parametrize(
    ("indices", "axis", "kept"),
    [
        pytest.param([0, 1, 2, 3], 1, False, id="identity"),
        pytest.param([0, 1, 3, 2], 1, True, id="permutation"),
        pytest.param([0, 1, 2], 1, True, id="part-of-the-axis"),
        pytest.param([0, 1, 2, 3, 0], 1, True, id="repetition"),
        pytest.param([0, 1, 2, 3], 0, True, id="axis-of-unknown-length"),
    ],
)
def test_only_a_gather_of_everything_in_order_is_dropped(
    indices: list[int], axis: int, kept: bool
) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Gather", ["r", "i"], ["y"], axis=axis),
    ]
    shape = ["n", 4]
    shape[axis] = len(indices)
    small = graph_of(nodes, {"x": ("n", 4), "y": tuple(shape)}, {"i": np.array(indices, np.int64)})
    found = lowered(small)
    assert ("Gather" in operators(found)) is kept
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_array_equal(run(found, {"x": x})[0], run(small, {"x": x})[0])


@pytest.mark.parametrize(
    ("addend", "shape", "kept"),
    [
        pytest.param(np.zeros(1), ("n", 4), False, id="scalar-zero"),
        pytest.param(np.zeros((1, 4)), ("n", 4), False, id="row-of-zeros"),
        pytest.param(np.array([0, 0, 0, 1e-30]), ("n", 4), True, id="almost-zero"),
        pytest.param(np.zeros((3, 1, 1)), (3, "n", 4), True, id="widens-with-an-axis"),
        pytest.param(np.zeros((3, 4)), (3, 4), True, id="widens-the-batch"),
    ],
)
def test_only_an_addition_of_zero_that_changes_no_shape_is_dropped(
    addend: np.ndarray, shape: tuple[int | str, ...], kept: bool
) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Add", ["r", "c"], ["y"])]
    small = graph_of(nodes, {"x": ("n", 4), "y": shape}, {"c": addend.astype(np.float32)})
    found = lowered(small)
    assert ("Add" in operators(found)) is kept
    x = np.random.default_rng(0).normal(size=(1, 4)).astype(np.float32)
    np.testing.assert_array_equal(run(found, {"x": x})[0], run(small, {"x": x})[0])


def test_lowering_changes_no_value(exported: Exported) -> None:
    found = exported.lowered
    for batch in (1, 3):
        feed = {k: v.numpy() for k, v in inputs(exported.tiny, batch).items()}
        for ours, theirs in zip(run(found, feed), run(exported.model, feed), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=TOLERANCE, rtol=0)


def test_lowering_leaves_no_local_function_and_a_valid_file(exported: Exported) -> None:
    found = exported.lowered
    assert not found.functions
    assert {node.domain for node in found.graph} == {""}
    assert found.opset_imports[""] == 20
    onnx.checker.check_model(ir.to_proto(found), full_check=True)


def test_lowering_leaves_its_input_as_it_was(exported: Exported) -> None:
    before = ir.to_proto(exported.model).SerializeToString(deterministic=True)
    lowered(exported.model)
    assert ir.to_proto(exported.model).SerializeToString(deterministic=True) == before


def test_shifts_and_masks_become_constants(export_tiny: Callable[[str], Exported]) -> None:
    found = Counter(operators(export_tiny("swin_padded").lowered))
    computed = {"Range", "Mod", "GreaterOrEqual", "Equal", "Not", "Where", "Cast"}
    assert computed.isdisjoint(found)
    assert found["Shape"] == 1  # the batch, which masks are repeated for
    # Padded maps change order around every block's attention, and once to merge patches.
    assert found["Gather"] == 4 * 2 + 1


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_int8_weights_stay_int8(export_tiny: Callable[[str], Exported], name: str) -> None:
    exported = export_tiny(name)
    images = [
        {k: v.numpy() for k, v in inputs(exported.tiny, 1, seed=seed).items()} for seed in range(4)
    ]
    quantised = quantised_from_onnx(exported.model, images, Settings(threads=1))
    int8 = int8_names(quantised.precision_map) - set(attentions(exported.model))
    found = lowered(quantised.model)
    weights = {n.name: n.inputs[1].producer() for n in found.graph if n.name in int8}
    assert len(weights) == len(int8) > 8
    for name_of_linear, producer in weights.items():
        assert producer is not None, name_of_linear
        assert producer.op_type == "DequantizeLinear"
        assert producer.inputs[0].const_value.dtype == ir.DataType.INT8
    for ours, theirs in zip(run(found, images[0]), run(quantised.model, images[0]), strict=True):
        # Measured 0.0. Elsewhere a float difference in the last place may move an activation by
        # one int8 step, less than a hundredth of its range, in one of many terms of an output.
        np.testing.assert_allclose(ours, theirs, atol=0.02, rtol=0)
