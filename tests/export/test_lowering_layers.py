"""Lowering of single layers: split linears, patch merging, patch embedding."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from small_graphs import graph_of, operators, run

from export.lowering.columns import SPLIT_LINEARS
from export.lowering.merging import MERGING_AS_GATHER
from export.lowering.patches import PATCHES_AS_LINEAR
from export.lowering.rule import Rule
from export.lowering.unsigned import SHARED_ACTIVATIONS_UNSIGNED
from export.simplify import simplify

random = np.random.default_rng(0)


def applied(rule: Rule, model: ir.Model) -> ir.Model:
    return simplify(rule.apply(simplify(model.clone())))


def expected(model: ir.Model, x: np.ndarray) -> np.ndarray:
    return ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})[0]  # type: ignore[no-any-return]


def split_linear(kind: str) -> ir.Model:
    """Parts of 2, 3 and 4 columns of a linear, put together in another order."""
    constants = {
        "weight": random.normal(size=(5, 9)).astype("f"),
        "bias": random.normal(size=9).astype("f"),
        "parts": np.array([2, 3, 4]),
    }
    nodes = []
    weight = "weight"
    if kind != "float":
        scales = {"per-channel": (9,), "per-tensor": ()}[kind]
        constants["weight"] = random.integers(-127, 128, (5, 9)).astype(np.int8)
        constants["scale"] = random.uniform(0.01, 0.02, scales).astype("f")
        constants["zero"] = np.zeros(scales, np.int8)
        nodes = [helper.make_node("DequantizeLinear", ["weight", "scale", "zero"], ["d"], axis=1)]
        weight = "d"
    nodes += [
        helper.make_node("MatMul", ["x", weight], ["m"], name="qkv"),
        helper.make_node("Add", ["bias", "m"], ["b"]),
        helper.make_node("Split", ["b", "parts"], ["q", "k", "v"], axis=-1),
        helper.make_node("Concat", ["v", "q", "k"], ["y"], axis=-1),
    ]
    return graph_of(nodes, {"x": ("n", 7, 5), "y": ("n", 7, 9)}, constants)


@pytest.mark.parametrize("kind", ["float", "per-channel", "per-tensor"])
def test_a_split_linear_becomes_one_for_each_part(kind: str) -> None:
    model = split_linear(kind)
    found = applied(SPLIT_LINEARS, model)
    assert "Split" not in operators(found)
    products = [node for node in found.graph if node.op_type == "MatMul"]
    assert [node.name for node in products] == ["qkv.0", "qkv.1", "qkv.2"]
    assert [node.outputs[0].shape[-1] for node in products] == [2, 3, 4]
    x = random.normal(size=(2, 7, 5)).astype("f")
    # Sums of five products up to 8, in any order: a few units in the last place.
    np.testing.assert_allclose(run(found, {"x": x})[0], expected(model, x), atol=5e-6, rtol=0)


def test_weights_of_the_parts_stay_int8() -> None:
    found = applied(SPLIT_LINEARS, split_linear("per-channel"))
    weights = [n.inputs[0] for n in found.graph if n.op_type == "DequantizeLinear"]
    assert [(w.dtype, list(w.shape)) for w in weights] == [
        (ir.DataType.INT8, [5, width]) for width in (2, 3, 4)
    ]


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param(
            [
                helper.make_node("MatMul", ["x", "w"], ["m"]),
                helper.make_node("Softmax", ["m"], ["s"], axis=-1),
                helper.make_node("Split", ["s"], ["a", "b"], axis=-1, num_outputs=2),
                helper.make_node("Sub", ["a", "b"], ["y"]),
            ],
            id="columns-depend-on-each-other",
        ),
        pytest.param(
            [
                helper.make_node("MatMul", ["x", "w"], ["m"]),
                helper.make_node("Split", ["m"], ["a", "b"], axis=-1, num_outputs=2),
                helper.make_node("ReduceSum", ["m"], ["all"], keepdims=1),
                helper.make_node("Sub", ["a", "b"], ["d"]),
                helper.make_node("Mul", ["d", "all"], ["y"]),
            ],
            id="the-whole-is-read-too",
        ),
    ],
)
def test_other_splits_stay(nodes: list[onnx.NodeProto]) -> None:
    weight = random.normal(size=(5, 6)).astype("f")
    found = applied(SPLIT_LINEARS, graph_of(nodes, {"x": (4, 5), "y": (4, 3)}, {"w": weight}))
    assert operators(found).count("Split") == operators(found).count("MatMul") == 1


def quantised(readers: int) -> ir.Model:
    """Products of one int8 activation with as many matrices, summed."""
    constants = {"scale": np.array(0.02, "f"), "zero": np.array(3, np.int8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["i"]),
        helper.make_node("DequantizeLinear", ["i", "scale", "zero"], ["d"]),
    ]
    for number in range(readers):
        constants[f"w{number}"] = random.normal(size=(5, 5)).astype("f")
        nodes.append(helper.make_node("MatMul", ["d", f"w{number}"], [f"m{number}"]))
    nodes.append(helper.make_node("Sum", [f"m{i}" for i in range(readers)], ["y"]))
    return graph_of(nodes, {"x": ("n", 5), "y": ("n", 5)}, constants)


@pytest.mark.parametrize(
    ("readers", "kind"),
    [
        pytest.param(1, ir.DataType.INT8, id="one-reader"),
        pytest.param(3, ir.DataType.UINT8, id="three-readers"),
    ],
)
def test_shared_activations_are_unsigned(readers: int, kind: ir.DataType) -> None:
    model = quantised(readers)
    found = applied(SHARED_ACTIVATIONS_UNSIGNED, model)
    (quantise,) = (node for node in found.graph if node.op_type == "QuantizeLinear")
    assert quantise.outputs[0].dtype == kind
    # Beyond what eight bits hold on both sides, so that saturation counts.
    x = np.linspace(-4, 4, 50, dtype="f").reshape(10, 5)
    # The same integers, up to their offset, so the same floats: bit for bit.
    np.testing.assert_array_equal(run(found, {"x": x})[0], run(model, {"x": x})[0])


def slices(name: str, bounds: list[tuple[int, int, int, int]]) -> list[onnx.NodeProto]:
    """Slice of `map`, one axis after the other: (axis, start, end, step)."""
    nodes, source = [], "map"
    for number, (axis, *rest) in enumerate(bounds):
        out = f"{name}.{number}" if number < len(bounds) - 1 else name
        values = dict(zip(("start", "end", "step"), rest, strict=True), axis=axis)
        parts = [f"{out}.{key}" for key in ("start", "end", "axis", "step")]
        nodes += [
            helper.make_node("Constant", [], [part], value_ints=[values[part.rsplit(".", 1)[1]]])
            for part in parts
        ]
        nodes.append(helper.make_node("Slice", [source, *parts], [out]))
        source = out
    return nodes


def merging(offsets: list[tuple[int, int]], source: str = "map") -> ir.Model:
    """Neighbours at offsets in steps of two, their channels joined, of a map (n, 4, 6, 3)."""
    nodes = [
        helper.make_node("Constant", [], ["to_map"], value_ints=[-1, 4, 6, 3]),
        helper.make_node("Reshape", ["x", "to_map"], ["map"]),
    ]
    for number, (down, right) in enumerate(offsets):
        far = 2**31
        nodes += slices(f"s{number}", [(1, down, far, 2), (2, right, far, 2)])
    nodes.append(helper.make_node("Concat", [f"s{i}" for i in range(len(offsets))], ["y"], axis=-1))
    shapes = {"x": ("n", 24, 3), "y": ("n", 2, 3, 3 * len(offsets))}
    return graph_of(nodes, shapes, {})


@pytest.mark.parametrize(
    "offsets",
    [
        pytest.param([(0, 0), (1, 0), (0, 1), (1, 1)], id="swin"),
        pytest.param([(1, 1), (0, 0)], id="two-of-four"),
        pytest.param([(0, 0), (0, 0), (1, 0)], id="one-twice"),
    ],
)
def test_patch_merging_is_one_gather(offsets: list[tuple[int, int]]) -> None:
    model = merging(offsets)
    found = applied(MERGING_AS_GATHER, model)
    assert operators(found) == ["Gather", "Reshape"]
    x = random.normal(size=(2, 24, 3)).astype("f")
    np.testing.assert_array_equal(run(found, {"x": x})[0], expected(model, x))


def patch_embedding(bias: bool, **attributes: object) -> ir.Model:
    """Kernels of 2 x 3 on an image of 8 x 12, as tokens."""
    constants = {
        "k": random.normal(size=(5, 4, 2, 3)).astype("f"),
        "flat": np.array([-1, 5, 16]),
        **({"b": random.normal(size=5).astype("f")} if bias else {}),
    }
    conv = {"strides": [2, 3], "kernel_shape": [2, 3], **attributes}
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"] if bias else ["x", "k"], ["c"], **conv),
        helper.make_node("Reshape", ["c", "flat"], ["r"]),
        helper.make_node("Transpose", ["r"], ["y"], perm=[0, 2, 1]),
    ]
    return graph_of(nodes, {"x": ("n", 4, 8, 12), "y": ("n", 16, 5)}, constants)


@pytest.mark.parametrize("bias", [pytest.param(True, id="bias"), pytest.param(False, id="plain")])
def test_a_patch_embedding_is_a_linear(bias: bool) -> None:
    model = patch_embedding(bias)
    found = applied(PATCHES_AS_LINEAR, model)
    assert operators(found) == ["Reshape", "Transpose", "Reshape", "MatMul", *["Add"] * bias]
    x = random.normal(size=(3, 4, 8, 12)).astype("f")
    # Sums of 24 products of order 1 in another order: units in the last place (1e-6 of 10).
    np.testing.assert_allclose(run(found, {"x": x})[0], expected(model, x), atol=1e-5, rtol=0)


def test_an_int8_patch_embedding_is_an_int8_linear() -> None:
    constants = {
        "k": random.integers(-127, 128, (5, 4, 2, 3)).astype(np.int8),
        "scale": random.uniform(0.01, 0.02, 5).astype("f"),
        "zero": np.zeros(5, np.int8),
        "flat": np.array([-1, 5, 16]),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["k", "scale", "zero"], ["d"], axis=0),
        helper.make_node(
            "Conv", ["x", "d"], ["c"], name="conv", strides=[2, 3], kernel_shape=[2, 3]
        ),
        helper.make_node("Reshape", ["c", "flat"], ["r"]),
        helper.make_node("Transpose", ["r"], ["y"], perm=[0, 2, 1]),
    ]
    model = graph_of(nodes, {"x": ("n", 4, 8, 12), "y": ("n", 16, 5)}, constants)
    found = applied(PATCHES_AS_LINEAR, model)
    (linear,) = (node for node in found.graph if node.op_type == "MatMul")
    dequantise = linear.inputs[1].producer()
    assert linear.name == "conv"
    assert dequantise.inputs[0].const_value.dtype == ir.DataType.INT8
    x = random.normal(size=(3, 4, 8, 12)).astype("f")
    # Sums of 24 products of up to 8 in another order: units in the last place.
    np.testing.assert_allclose(run(found, {"x": x})[0], expected(model, x), atol=2e-5, rtol=0)


def test_a_convolution_that_overlaps_stays() -> None:
    constants = {"k": random.normal(size=(5, 4, 3, 3)).astype("f"), "flat": np.array([-1, 5, 16])}
    nodes = [
        helper.make_node(
            "Conv", ["x", "k"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1], kernel_shape=[3, 3]
        ),
        helper.make_node("Reshape", ["c", "flat"], ["r"]),
        helper.make_node("Transpose", ["r"], ["y"], perm=[0, 2, 1]),
    ]
    model = graph_of(nodes, {"x": ("n", 4, 8, 8), "y": ("n", 16, 5)}, constants)
    assert "Conv" in operators(applied(PATCHES_AS_LINEAR, model))
