"""Lowering of single layers: concatenated parts, patch merging."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from small_graphs import graph_of, operators, run

from export.lowering.merging import MERGING_AS_GATHER
from export.lowering.parts import CONCATENATED_PARTS
from export.lowering.rule import Rule
from export.lowering.unsigned import SHARED_ACTIVATIONS_UNSIGNED
from export.simplify import simplify

random = np.random.default_rng(0)


def applied(rule: Rule, model: ir.Model) -> ir.Model:
    return simplify(rule.apply(simplify(model.clone())))


def expected(model: ir.Model, x: np.ndarray) -> np.ndarray:
    return ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})[0]  # type: ignore[no-any-return]


def concatenated(sizes: list[int], wanted: list[int], along: int = -1) -> ir.Model:
    """Parts of x put together and taken apart again, each with a factor of its own."""
    parts = [f"p{i}" for i in range(len(sizes))]
    pieces = [f"s{i}" for i in range(len(wanted))]
    nodes = [helper.make_node("Split", ["x", "sizes"], parts, axis=along)]
    nodes += [helper.make_node("Relu", [part], [f"r{part}"]) for part in parts]
    nodes += [helper.make_node("Concat", [f"r{part}" for part in parts], ["whole"], axis=along)]
    nodes += [helper.make_node("Split", ["whole", "wanted"], pieces, axis=-1)]
    nodes += [helper.make_node("Concat", pieces[::-1], ["y"], axis=-1)]
    constants = {"sizes": np.array(sizes), "wanted": np.array(wanted)}
    return graph_of(nodes, {"x": (2, 9, 9), "y": (2, 9, 9)}, constants)


@pytest.mark.parametrize(
    ("model", "left"),
    [
        pytest.param(concatenated([2, 3, 4], [2, 3, 4]), 1, id="the-parts-themselves"),
        pytest.param(concatenated([2, 3, 4], [3, 2, 4]), 2, id="other-sizes"),
        pytest.param(concatenated([3, 6], [3, 6], along=1), 2, id="another-axis"),
    ],
)
def test_only_what_was_concatenated_so_is_not_split_again(model: ir.Model, left: int) -> None:
    found = applied(CONCATENATED_PARTS, model)
    assert operators(found).count("Split") == left
    x = random.normal(size=(2, 9, 9)).astype("f")
    np.testing.assert_array_equal(run(found, {"x": x})[0], expected(model, x))


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
