"""Permutations of tokens move without changing a value, and vanish where they meet."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper
from small_graphs import graph_of, operators, run

from export.lowering.permutations import MOVE_PERMUTATIONS
from export.simplify import simplify

random = np.random.default_rng(0)
ORDER, OTHER = random.permutation(6), random.permutation(6)
CONSTANTS = {
    "into": ORDER,
    "out_of": np.argsort(ORDER),
    "other": OTHER,
    "other_back": np.argsort(OTHER),
    "groups": np.array([2, 0, 1]),
    "pairs": np.array([-1, 3, 8]),
    "single": np.array([-1, 6, 4]),
    "axis": np.array(1),
    "w": random.normal(size=(4, 4)).astype("f"),
    "gain": random.normal(size=4).astype("f"),
}


def moved(nodes: list[onnx.NodeProto], used: list[str]) -> tuple[ir.Model, ir.Model]:
    """The small graph x (n, 6, 4) -> y before and after the rule alone."""
    shapes = {"x": ("n", 6, 4), "y": ("n", 6, 4)}
    before = graph_of(nodes, shapes, {name: CONSTANTS[name] for name in used})
    before = simplify(before)
    return before, simplify(MOVE_PERMUTATIONS.apply(before.clone()))


def same(before: ir.Model, after: ir.Model) -> None:
    x = random.normal(size=(2, 6, 4)).astype("f")
    # Every row is computed from the same numbers in the same order: bit for bit.
    np.testing.assert_array_equal(run(after, {"x": x})[0], run(before, {"x": x})[0])


def gather(source: str, order: str, out: str) -> onnx.NodeProto:
    return helper.make_node("Gather", [source, order], [out], axis=1)


def node(op_type: str, inputs: list[str], out: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs, [out], **attributes)


def test_there_and_back_around_rowwise_operators_is_nothing() -> None:
    before, after = moved(
        [
            node("Relu", ["x"], "r"),
            gather("r", "into", "g"),
            node("MatMul", ["g", "w"], "m"),
            node("LayerNormalization", ["m", "gain"], "l"),
            gather("l", "out_of", "y"),
        ],
        ["into", "out_of", "w", "gain"],
    )
    assert operators(after) == ["Relu", "MatMul", "LayerNormalization"]
    same(before, after)


def block(source: str, order: str, back: str, out: str, name: str) -> list[onnx.NodeProto]:
    """x + p^-1(mix(p(norm(x)))), where mix couples tokens: a window block."""
    return [
        node("LayerNormalization", [source, "gain"], f"{name}.norm"),
        gather(f"{name}.norm", order, f"{name}.g"),
        node("CumSum", [f"{name}.g", "axis"], f"{name}.mixed"),
        gather(f"{name}.mixed", back, f"{name}.b"),
        node("MatMul", [f"{name}.b", "w"], f"{name}.p"),
        node("Add", [source, f"{name}.p"], out),
    ]


def test_blocks_of_one_order_gather_once_on_each_side() -> None:
    nodes = [node("Relu", ["x"], "r")]
    nodes += block("r", "into", "out_of", "s", "a") + block("s", "into", "out_of", "t", "b")
    before, after = moved(
        [*nodes, node("Relu", ["t"], "y")], ["into", "out_of", "gain", "w", "axis"]
    )
    assert operators(after).count("Gather") == 2
    assert operators(after)[0] == "Gather"  # before the Relu: it lifts as far as it can
    same(before, after)


def test_blocks_of_two_orders_gather_once_between_them() -> None:
    nodes = [node("Relu", ["x"], "r")]
    nodes += block("r", "into", "out_of", "s", "a") + block("s", "other", "other_back", "y", "b")
    used = ["into", "out_of", "other", "other_back", "gain", "w", "axis"]
    before, after = moved(nodes, used)
    assert operators(after).count("Gather") == 3
    same(before, after)


def test_an_addition_of_differently_ordered_tokens_stays() -> None:
    before, after = moved(
        [
            node("CumSum", ["x", "axis"], "c"),
            gather("c", "into", "g"),
            node("Add", ["g", "x"], "y"),
        ],
        ["axis", "into"],
    )
    assert operators(after) == ["CumSum", "Gather", "Add"]
    same(before, after)


def test_a_permutation_of_groups_passes_the_merging_of_rows() -> None:
    before, after = moved(
        [
            node("CumSum", ["x", "axis"], "c"),
            node("Reshape", ["c", "pairs"], "p"),
            gather("p", "groups", "g"),
            node("CumSum", ["g", "axis"], "d"),
            node("Reshape", ["d", "single"], "y"),
        ],
        ["pairs", "single", "groups", "axis"],
    )
    assert operators(after) == ["CumSum", "Gather", "Reshape", "CumSum", "Reshape"]
    same(before, after)


@pytest.mark.parametrize(
    "rows", [pytest.param([0, 1, 2, 3, 4, 4], id="repeats"), pytest.param([5], id="selects")]
)
def test_only_permutations_move(rows: list[int]) -> None:
    nodes = [
        node("Relu", ["x"], "r"),
        node("Gather", ["r", "rows"], "g", axis=1),
        node("Neg", ["g"], "y"),
    ]
    shapes = {"x": ("n", 6, 4), "y": ("n", len(rows), 4)}
    before = simplify(graph_of(nodes, shapes, {"rows": np.array(rows)}))
    after = simplify(MOVE_PERMUTATIONS.apply(before.clone()))
    assert operators(after) == ["Relu", "Gather", "Neg"]
    same(before, after)


def test_what_is_read_in_both_orders_is_kept_in_both() -> None:
    before, after = moved(
        [
            node("Relu", ["x"], "r"),
            gather("r", "into", "g"),
            node("CumSum", ["g", "axis"], "c"),
            node("Mul", ["c", "r"], "y"),
        ],
        ["into", "axis"],
    )
    assert operators(after) == ["Relu", "Gather", "CumSum", "Mul"]
    same(before, after)
