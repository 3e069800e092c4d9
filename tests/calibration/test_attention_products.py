"""Int8 in both products of attention: what is found, what is written, and what it costs."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from calibration.attention_int8 import quantise_products
from calibration.attention_products import LIMIT, Products, fits, measure_products

HEADS, ROWS, KEYS, WIDTH, SCALE = 2, 16, 24, 16, 0.25
FUNCTION = """
<domain: "vitrine", opset_import: ["" : 20]>
FusedAttention <scale>(q, k, v, bias) => (y) {
    factor = Constant<value_float: float = @scale>()
    scaled = Mul(q, factor)
    kt = Transpose<perm: ints = [0, 1, 3, 2]>(k)
    scores = MatMul(scaled, kt)
    biased = Add(scores, bias)
    p = Softmax<axis: int = -1>(biased)
    y = MatMul(p, v)
}
"""
OPERANDS = {"q": (ROWS, WIDTH), "k": (KEYS, WIDTH), "v": (KEYS, WIDTH)}


def attention(
    rows: int = ROWS, keys: int = KEYS, width: int = WIDTH, bias: str = f"float[1, {HEADS}, 1, 1]"
) -> ir.Model:
    """(q, k, v, bias) -> y; `bias` is a graph input, of this type."""
    given = ", ".join(
        f"float[batch, {HEADS}, {n}, {width}] {name}"
        for name, n in (("q", rows), ("k", keys), ("v", keys))
    )
    text = f"""<ir_version: 10, opset_import: ["" : 20, "vitrine" : 1]>
    g ({given}, {bias} bias) => (float[batch, {HEADS}, {rows}, {width}] y) {{
        [attention] y = vitrine.FusedAttention<scale: float = {SCALE}>(q, k, v, bias)
    }}{FUNCTION}"""
    return ir.from_proto(onnx.parser.parse_model(text))


def feeds(count: int, spread: float, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Single images whose scores have about this standard deviation."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        feed = {
            name: random.normal(size=(1, HEADS, *shape)).astype(np.float32)
            for name, shape in OPERANDS.items()
        }
        feed["q"] *= np.float32(spread / (SCALE * WIDTH**0.5))
        feed["bias"] = random.normal(size=(1, HEADS, 1, 1)).astype(np.float32)
        found.append(feed)
    return found


def run(model: ir.Model, feed: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(ReferenceEvaluator(ir.to_proto(model)).run(None, feed)[0])


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        pytest.param({}, True, id="small"),
        pytest.param({"keys": 512, "width": 128}, True, id="largest"),
        pytest.param({"keys": 513}, False, id="keys"),
        pytest.param({"width": 144}, False, id="wide"),
        pytest.param({"width": 24}, False, id="no-multiple-of-16"),
        pytest.param({"rows": 1}, False, id="one-query"),
    ],
)
def test_only_sizes_with_a_fused_kernel_fit(sizes: dict[str, int], expected: bool) -> None:
    (node,) = attention(**sizes).graph
    assert fits(node) == expected


def test_an_unknown_number_of_keys_does_not_fit() -> None:
    model = attention()
    model.graph.inputs[1].shape = ir.Shape(["batch", HEADS, "keys", WIDTH])
    assert not fits(model.graph[0])
    assert measure_products(model, feeds(1, 1.0)) == {}


@pytest.mark.parametrize("spread", [0.1, 4.0], ids=["even", "uneven"])
def test_the_measured_error_is_that_of_the_graph(spread: float) -> None:
    model, images = attention(), feeds(4, spread)
    found = measure_products(model, images, threads=1)
    written = quantise_products(model, found)
    exact = [run(model, feed) for feed in images]
    ours = [run(written, feed) for feed in images]
    error = sum(float(np.sum((a - b) ** 2)) for a, b in zip(ours, exact, strict=True))
    square = sum(float(np.sum(e**2)) for e in exact)
    # The same roundings in the same order; float32 sums differ, which may move a tie or two of
    # the 3000 probabilities by one step.
    assert error / square == pytest.approx(found["attention"].error, rel=0.02)


def test_probabilities_are_clipped_where_that_is_nearer() -> None:
    model = attention()
    even, uneven = (
        measure_products(model, feeds(4, spread), threads=1)["attention"] for spread in (0.1, 6.0)
    )
    # 24 keys that are nearly alike have probabilities near 1/24; a winner has nearly 1.
    assert 1 / 24 < even.probability < 0.1
    assert uneven.probability > 0.7

    def error(clip: float) -> float:
        limits = Products(even.query, even.key, even.value, clip, 0.0)
        written = quantise_products(model, {"attention": limits})
        return sum(float(np.sum((run(written, f) - run(model, f)) ** 2)) for f in feeds(4, 0.1))

    assert error(even.probability) < error(1.0) / 10
    assert error(even.probability) < error(even.probability / 2)


def test_long_uneven_rows_do_not_qualify_and_short_ones_do() -> None:
    random = np.random.default_rng(0)

    def measured(keys: int) -> float:
        images = []
        for feed in feeds(2, 3.0):
            more = {
                name: random.normal(size=(1, HEADS, keys, WIDTH)).astype(np.float32)
                for name in ("k", "v")
            }
            images.append({**feed, **more})
        return measure_products(attention(keys=keys), images, threads=1)["attention"].error

    assert measured(16) < LIMIT < measured(512)


def test_every_product_reads_what_was_dequantised() -> None:
    limits = Products(2.0, 3.0, 4.0, 0.5, 0.0)
    written = quantise_products(attention(), {"attention": limits})
    products = [node for node in written.graph if node.op_type == "MatMul"]
    assert [str(node.name) for node in products] == ["attention", "attention.values"]
    scales = []
    for node in products:
        for value in node.inputs:
            dequantise = value.producer()
            assert dequantise.op_type == "DequantizeLinear"
            assert dequantise.inputs[0].producer().op_type == "QuantizeLinear"
            assert dequantise.inputs[2].const_value.numpy() == 0
            assert dequantise.inputs[2].dtype == ir.DataType.INT8
            scales.append(float(dequantise.inputs[1].const_value.numpy()) * 127)
    # Rounded up to float16, which has 11 bits.
    assert scales == pytest.approx([2.0, 3.0, 0.5, 4.0], rel=2**-10)
    onnx.checker.check_model(ir.to_proto(written), full_check=True)


def test_a_bias_of_zeros_is_left_out() -> None:
    model = attention()
    limits = {"attention": Products(1.0, 1.0, 1.0, 1.0, 0.0)}
    assert "Add" in [node.op_type for node in quantise_products(model, limits).graph]
    zeros = ir.val("zeros", const_value=ir.tensor(np.zeros((1, 1, 1, 1), np.float32)))
    model.graph.register_initializer(zeros)
    model.graph[0].replace_input_with(3, zeros)
    assert "Add" not in [node.op_type for node in quantise_products(model, limits).graph]


def test_a_name_that_is_no_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="'other' is not a FusedAttention"):
        quantise_products(attention(), {"other": Products(1.0, 1.0, 1.0, 1.0, 0.0)})
