"""Changes of attention's values fold away, wherever the graph proves that they may."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from calibration.calibrate import Settings
from calibration.linears import find_linears
from calibration.local_error import Affine
from calibration.quantise import quantised_from_onnx
from calibration.transforms.attention_values import fold_values, value_linears
from tests.calibration.float_graphs import images, model_from_text, operators, run

TOKENS, WIDTH = 6, 16
MATRICES = ("q_w", "k_w", "v_w", "o_w")

FUSED = """
<domain: "vitrine", opset_import: ["" : 20]>
FusedAttention <scale> (q, k, v, bias) => (y) {
    s = Constant<value_float: float = @scale>()
    f = CastLike(s, q)
    scaled = Mul(q, f)
    t = Transpose<perm: ints = [0, 1, 3, 2]>(k)
    scores = MatMul(scaled, t)
    biased = Add(scores, bias)
    p = Softmax<axis: int = -1>(biased)
    y = MatMul(p, v)
}"""


def fused(
    merge: str = "[0, 2, 1, 3]", values: str = "v_b", extra: str = "", size: int = 4
) -> ir.Model:
    """q, k, v -> four heads (of `size`) -> FusedAttention -> o."""
    heads = "\n".join(
        f"[{n}] {n}_p = MatMul(x, {n}_w)\n {n}_y = Add({n}_p, {n}_b)\n"
        f"{n}_r = Reshape({n}_y, apart)\n {n}_h = Transpose<perm: ints = [0, 2, 1, 3]>({n}_r)"
        for n in "qkv"
    ).replace("v_y = Add(v_p, v_b)", f"v_y = Add(v_p, {values})")
    text = f"""<ir_version: 10, opset_import: ["" : 20, "vitrine" : 1]>
    g (float[1, {TOKENS}, {WIDTH}] x) => (float[1, {TOKENS}, {WIDTH}] z) {{
        {heads}
        a = vitrine.FusedAttention<scale: float = 0.5>(q_h, k_h, v_h, none)
        t = Transpose<perm: ints = {merge}>(a)
        m = Reshape(t, together)
        [o] o_p = MatMul(m, o_w)
        o_y = Add(o_p, o_b)
        {extra or "z = Identity(o_y)"}
    }}{FUSED}"""
    random = np.random.default_rng(0)
    constants = {name: random.normal(size=(WIDTH, WIDTH)) for name in MATRICES}
    constants |= {f"{n}_b": random.normal(size=WIDTH) * 3 for n in "qkvo"}
    # Channels of very different size, as trained values have.
    constants["v_w"] *= np.exp(random.normal(0.0, 1.5, WIDTH))
    floats = {name: array.astype(np.float32) for name, array in constants.items()}
    shapes = {"apart": [1, TOKENS, WIDTH // size, size], "together": [1, TOKENS, WIDTH]}
    integers = {name: np.array(shape) for name, shape in shapes.items()}
    none = {"none": np.zeros(1, np.float32)}
    proto = ir.to_proto(model_from_text(text, floats | integers | none))
    return with_shapes(ir.from_proto(proto), size)


def with_shapes(model: ir.Model, size: int) -> ir.Model:
    """The exporter annotates what follows a custom operator; ONNX's shape inference cannot."""
    shapes = {
        "a": (1, WIDTH // size, TOKENS, size),
        "t": (1, TOKENS, WIDTH // size, size),
        "m": (1, TOKENS, WIDTH),
    }
    for node in model.graph:
        for value in node.outputs:
            if value.name in shapes:
                value.shape = ir.Shape(shapes[value.name])
    return model


def some_affine() -> Affine:
    random = np.random.default_rng(1)
    return Affine(np.exp(random.normal(size=WIDTH)), random.normal(size=WIDTH))


def test_folding_changes_the_input_as_asked_and_leaves_the_output() -> None:
    model, affine = fused(), some_affine()
    assert value_linears(model, {"q", "k", "v", "o"}) == ["o"]
    folded = fold_values(model, {"o": affine})
    assert operators(folded) == operators(model)
    feed = images(1, TOKENS, WIDTH)[0]
    before, after = value_of(model, "m", feed), value_of(folded, "m", feed)
    # Values up to 100 rounded to 24 bits a few times.
    assert np.allclose(after, (before - affine.offset) / affine.scale, rtol=1e-4, atol=1e-4)
    assert np.allclose(run(folded, feed)[0], run(model, feed)[0], rtol=1e-4, atol=1e-3)


def value_of(model: ir.Model, name: str, feed: dict[str, np.ndarray]) -> np.ndarray:
    copy = model.clone()
    value = next(v for node in copy.graph for v in node.outputs if v.name == name)
    value.type = ir.TensorType(ir.DataType.FLOAT)
    copy.graph.outputs[:] = [value]
    return run(copy, feed)[0]


UNPROVED = {
    "heads-interleaved": {"merge": "[0, 2, 3, 1]"},
    "values-read-elsewhere": {"extra": "z = Add(o_y, v_y)"},
    "mixed-read-elsewhere": {"extra": "z = Add(o_y, m)"},
    "values-not-from-a-linear": {"values": "x"},
}


@pytest.mark.parametrize("form", UNPROVED.values(), ids=UNPROVED.keys())
def test_what_the_graph_does_not_prove_is_left_alone(form: dict[str, str]) -> None:
    assert value_linears(fused(**form), {"o"}) == []


def packed() -> ir.Model:
    """One linear for q, k and v, and window attention (here of one window without a shift)."""
    text = f"""<ir_version: 10, opset_import: ["" : 20, "vitrine" : 1]>
    g (float[1, 4, {WIDTH}] x) => (float[1, 4, {WIDTH}] z) {{
        [qkv] p = MatMul(x, w)
        y = Add(p, b)
        r = Reshape(y, apart)
        a = vitrine.WindowAttention(r)
        m = Reshape(a, together)
        [o] q = MatMul(m, o_w)
        z = Add(q, o_b)
    }}
    <domain: "vitrine", opset_import: ["" : 20]>
    WindowAttention (x) => (y) {{
        three = Constant<value_int: int = 3>()
        q, k, v = Split<axis: int = -1, num_outputs: int = 3>(x)
        t = Transpose<perm: ints = [0, 1, 3, 2]>(k)
        scores = MatMul(q, t)
        p = Softmax<axis: int = -1>(scores)
        y = MatMul(p, v)
    }}"""
    random = np.random.default_rng(0)
    constants = {
        "w": random.normal(size=(WIDTH, 3 * WIDTH)),
        "b": random.normal(size=3 * WIDTH),
        "o_w": random.normal(size=(WIDTH, WIDTH)),
        "o_b": random.normal(size=WIDTH),
    }
    floats = {name: array.astype(np.float32) for name, array in constants.items()}
    shapes = {"apart": [1, 2, 2, 3 * WIDTH], "together": [1, 4, WIDTH]}
    model = model_from_text(text, floats | {n: np.array(s) for n, s in shapes.items()})
    for node in model.graph:
        for value in node.outputs:
            if value.name in ("a", "m"):
                value.shape = ir.Shape((1, 2, 2, WIDTH) if value.name == "a" else (1, 4, WIDTH))
    return model


def test_where_one_linear_computes_all_three_only_its_values_change() -> None:
    model = packed()
    assert value_linears(model, {"o"}) == ["o"]
    folded = fold_values(model, {"o": some_affine()})
    before, after = (m.graph.initializers["w"].const_value.numpy() for m in (model, folded))
    assert np.array_equal(after[:, : 2 * WIDTH], before[:, : 2 * WIDTH])
    assert not np.array_equal(after, before)
    feed = images(1, 4, WIDTH)[0]
    assert np.allclose(run(folded, feed)[0], run(model, feed)[0], rtol=1e-4, atol=1e-3)


def test_it_pays() -> None:
    model, keep = fused(), dict.fromkeys(("q", "k", "v"), "to see the effect on o alone")

    def bounded(count: int, seed: int) -> list[dict[str, np.ndarray]]:
        # With normal inputs, a few calibration images would not show how far values reach.
        return [{"x": np.tanh(feed["x"] * 3)} for feed in images(count, TOKENS, WIDTH, seed=seed)]

    def error(smooth: bool) -> float:
        settings = Settings(smooth=smooth, threads=1)
        int8 = quantised_from_onnx(model, bounded(200, 1), settings, keep).model
        feeds = bounded(16, 9)
        return sum(float(np.sum((run(int8, f)[0] - run(model, f)[0]) ** 2)) for f in feeds)

    # Channels differ 20-fold: per-tensor steps fit only the largest. Measured: a twentieth.
    assert error(smooth=True) < error(smooth=False) / 2


def test_linears_are_found_in_the_folded_graph() -> None:
    folded = fold_values(fused(), {"o": some_affine()})
    assert [linear.name for linear in find_linears(folded)] == ["q", "k", "v", "o"]
