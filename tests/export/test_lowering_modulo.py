"""Mod as division, against ONNX Runtime, ONNX's reference evaluator, Python and C."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from safe_forms import Arrays, one_node, reference, safe
from small_graphs import run

random = np.random.default_rng(0)


def modulo(kind: type, fmod: int, a: np.ndarray, b: np.ndarray) -> tuple[ir.Model, Arrays]:
    feed = {"a": a.astype(kind), "b": b.astype(kind)}
    return one_node(helper.make_node("Mod", ["a", "b"], ["y"], fmod=fmod), feed, {}), feed


@pytest.mark.parametrize("fmod", [0, 1], ids=["python", "c"])
@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_modulo_of_integers(kind: type, fmod: int) -> None:
    a, b = np.meshgrid(np.arange(-13, 14), [-7, -5, -3, -1, 1, 2, 6, 13], indexing="ij")
    model, feed = modulo(kind, fmod, a, b)
    lowered = safe(model, "Mod")
    found = run(lowered, feed)[0]
    np.testing.assert_array_equal(found, run(model, feed)[0])
    np.testing.assert_array_equal(found, reference(model, feed))
    assert found.dtype == kind


@given(
    st.lists(st.tuples(*[st.integers(-(2**40), 2**40)] * 2), min_size=1, max_size=20),
    st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_modulo_has_the_right_sign(pairs: list[tuple[int, int]], of_dividend: bool) -> None:
    a, b = np.array([(a, b or 1) for a, b in pairs]).T
    model, feed = modulo(np.int64, int(of_dividend), a, b)
    expected = [int(math.fmod(x, y)) if of_dividend else x % y for x, y in zip(a, b, strict=True)]
    assert run(safe(model, "Mod"), feed)[0].tolist() == expected


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_modulo_of_floats_has_the_sign_of_the_dividend(kind: type) -> None:
    # Multiples and what is next to them, where a quotient rounds to the next integer.
    b = random.uniform(0.2, 3.0, size=200).astype(kind)
    a = (b * random.integers(-9, 10, size=200)).astype(kind)
    a[::2] = np.nextafter(a[::2], kind(0))
    b[::3] *= kind(-1)
    model, feed = modulo(kind, 1, a, b)
    found = run(safe(model, "Mod"), feed)[0]
    exact = np.fmod(a.astype(np.float64), b.astype(np.float64))
    # Remainders are exact but for the rounding of the multiple of b, up to 30. A whole b apart is
    # as near, so distances are on a circle.
    away = np.abs(found.astype(np.float64) - exact)
    away = np.minimum(away, np.abs(np.abs(b) - away))
    assert away.max() < (4e-6 if kind is np.float32 else 2e-3)
    assert np.all(np.sign(found) * np.sign(a) >= 0)
    assert np.all(np.abs(found) <= np.abs(b))
    assert found.dtype == kind


def test_modulo_of_floats_by_floor() -> None:
    a, b = random.uniform(-9, 9, size=(2, 50))
    model, feed = modulo(np.float32, 0, a, b)
    # ONNX Runtime refuses this; the evaluator is NumPy's.
    found = run(safe(model, "Mod"), feed)[0]
    np.testing.assert_allclose(found, np.mod(feed["a"], feed["b"]), atol=2e-6 * 9)


def test_modulo_broadcasts() -> None:
    feed = {"a": np.arange(24, dtype=np.int64).reshape(2, 3, 4) - 12}
    node = helper.make_node("Mod", ["a", "b"], ["y"])
    model = one_node(node, feed, {"b": np.array([[2], [-3], [5]])})
    np.testing.assert_array_equal(run(safe(model, "Mod"), feed)[0], run(model, feed)[0])
