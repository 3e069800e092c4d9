"""Graphs of one linear: int8 computes what float does with the same numbers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from engines import layer_cost
from engines.layer_cost import LinearCase, linear_graph, saved_milliseconds

CASES = {
    "MatMul": LinearCase("MatMul", (2, 5, 16), (16, 32)),
    "Gemm": LinearCase("Gemm", (3, 16), (32, 16), (("transB", 1),)),
    "Conv": LinearCase(
        "Conv", (2, 16, 8, 8), (32, 16, 2, 2), (("kernel_shape", (2, 2)), ("strides", (2, 2)))
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_twin_computes_the_same_linear(name: str) -> None:
    case = CASES[name]
    quantised, exact = linear_graph(case, int8=True), linear_graph(case, int8=False)
    onnx.checker.check_model(quantised)
    constants = {c.name: numpy_helper.to_array(c) for c in quantised.graph.initializer}
    # The float graph with the twin's own weights.
    scale = constants["weight.scale"].flat[0]
    weight = constants["weight"].astype(np.float32) * scale
    exact.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "weight"))
    step = float(constants["x.scale"])
    x = np.random.default_rng(1).integers(-100, 100, case.source).astype(np.float32) * step
    ours = ReferenceEvaluator(quantised).run(None, {"x": x})[0]
    theirs = ReferenceEvaluator(exact).run(None, {"x": x})[0]
    # x lies on the grid of the quantiser, so only float32 sums differ.
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_equal_cases_are_measured_once(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    measure = layer_cost.latency.measure

    def counted(*arguments: object) -> object:
        calls.append(arguments)
        return measure(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(layer_cost.latency, "measure", counted)
    cases = {"a": CASES["MatMul"], "b": CASES["Conv"], "c": CASES["MatMul"]}
    found = saved_milliseconds(cases, backend)
    assert list(found) == ["a", "b", "c"] and found["a"] == found["c"]
    assert len(calls) == 2
