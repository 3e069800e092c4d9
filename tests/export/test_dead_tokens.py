"""Work on tokens that nothing reads goes, and the outputs stay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from exported_models import Exported
from onnx.reference import ReferenceEvaluator

from export.dead_tokens import drop_dead_tokens

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'
TOKENS, WIDTH = 6, 8


def model(body: str, output: str) -> ir.Model:
    """x (batch, TOKENS, WIDTH) -> y, with weights w (WIDTH, WIDTH) and a bias by token."""
    random = np.random.default_rng(0)
    signature = f"g (float[batch, {TOKENS}, {WIDTH}] x) => (float[{output}] y)"
    proto = onnx.parser.parse_model(HEADER + signature + " {\n" + body + "\n}")
    constants = {
        "w": random.normal(size=(WIDTH, WIDTH)),
        "gamma": random.normal(size=WIDTH),
        "by_token": random.normal(size=(TOKENS, WIDTH)),
    }
    arrays = {name: array.astype(np.float32) for name, array in constants.items()}
    arrays |= {"first": np.array(0), "some": np.array([4, 1]), "every": np.arange(TOKENS)}
    arrays |= {"heads": np.array([0, TOKENS, 2, WIDTH // 2]), "flat": np.array([-1, TOKENS * 2, 4])}
    for name, array in arrays.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    for number, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}_{number}"
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True))


def outputs(graph: ir.Model) -> np.ndarray:
    feed = np.random.default_rng(1).normal(size=(3, TOKENS, WIDTH)).astype(np.float32)
    found = ReferenceEvaluator(ir.to_proto(graph)).run(None, {"x": feed})[0]
    return np.asarray(found)


ROWS_MOVE = {
    "by token": "a = Add(x, by_token) y = Gather<axis: int = 1>(a, some)",
    "weights": "a = MatMul(x, w) y = Gather<axis: int = 1>(a, some)",
    "norm": "a = LayerNormalization(x, gamma) y = Gather<axis: int = 1>(a, some)",
    "gelu": "a = Gelu(x) y = Gather<axis: int = 1>(a, some)",
    "two readers": (
        "n = Gelu(x) m = MatMul(n, w) a = Add(m, n) y = Gather<axis: int = 1>(a, some)"
    ),
    "attention": (
        "q = Gelu(x) k = Transpose<perm: ints = [0, 2, 1]>(x) s = MatMul(q, k) "
        "p = Softmax(s) a = MatMul(p, x) y = Gather<axis: int = 1>(a, some)"
    ),
}


@pytest.mark.parametrize("body", ROWS_MOVE.values(), ids=list(ROWS_MOVE))
def test_rows_move_to_the_input(body: str) -> None:
    before = model(body, "batch, 2, WIDTH".replace("WIDTH", str(WIDTH)))
    after = drop_dead_tokens(before)
    gathers = [node for node in after.graph if node.op_type == "Gather"]
    assert [str(node.inputs[0].name) for node in gathers] == ["x"]
    # The same sums over fewer rows: nothing is added in another order.
    np.testing.assert_array_equal(outputs(after), outputs(before))


def test_a_single_row_keeps_its_rank_until_the_end() -> None:
    body = "a = MatMul(x, w) b = Gelu(a) y = Gather<axis: int = 1>(b, first)"
    before = model(body, f"batch, {WIDTH}")
    after = drop_dead_tokens(before)
    assert [node.op_type for node in after.graph] == ["Gather", "MatMul", "Gelu", "Squeeze"]
    np.testing.assert_array_equal(outputs(after), outputs(before))


def test_heads_are_split_for_the_kept_rows_only() -> None:
    body = (
        "a = Reshape(x, heads) b = Transpose<perm: ints = [0, 2, 1, 3]>(a) "
        "y = Gather<axis: int = 2>(b, some)"
    )
    before = model(body, f"batch, 2, 2, {WIDTH // 2}")
    after = drop_dead_tokens(before)
    assert Counter(node.op_type for node in after.graph) == Counter(
        Gather=1, Reshape=1, Transpose=1
    )
    assert next(iter(after.graph)).op_type == "Gather"
    np.testing.assert_array_equal(outputs(after), outputs(before))


STAYS = {
    "rows mix": "a = Softmax<axis: int = 1>(x) y = Gather<axis: int = 1>(a, some)",
    "another reader": (
        "a = Gelu(x) b = Gather<axis: int = 1>(a, some) c = ReduceSum(a) y = Add(b, c)"
    ),
    "every row": "a = Gelu(x) y = Gather<axis: int = 1>(a, every)",
    "rows regrouped": "a = Reshape(x, flat) y = Gather<axis: int = 1>(a, some)",
}


@pytest.mark.parametrize(("case", "body"), STAYS.items(), ids=list(STAYS))
def test_what_others_need_stays(case: str, body: str) -> None:
    shape = {"every row": f"batch, {TOKENS}, {WIDTH}", "rows regrouped": "batch, 2, 4"}
    before = model(body, shape.get(case, f"batch, 2, {WIDTH}"))
    after = drop_dead_tokens(before)
    assert [node.op_type for node in after.graph] == [node.op_type for node in before.graph]


def test_the_last_block_of_a_vit_computes_one_token(
    export_tiny: Callable[[str], Exported],
) -> None:
    graph = export_tiny("vit").model.graph
    by_name = {node.name: node for node in graph}
    last = max(name for name in by_name if name and name.startswith("vit.layers.")).split(".")[2]
    rows = {
        part: by_name[f"vit.layers.{last}.{part}"].outputs[0].shape[1]
        for part in ("attention.q_proj", "attention.o_proj", "mlp.fc1", "mlp.fc2")
    }
    assert set(rows.values()) == {1}
    assert by_name[f"vit.layers.{last}.attention.k_proj"].outputs[0].shape[1] > 1
