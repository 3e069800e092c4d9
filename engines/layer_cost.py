"""What int8 saves at one linear, measured: a float graph of that linear alone beside its Q/DQ twin.

A linear's share of the whole model's time cannot be read off the model, whose back end fuses
linears with what surrounds them. Alone, each pays for its own quantisation, which neighbours may
share in the model; so the figures order layers, and the model itself is measured afterwards.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines import latency
from runtime.backends import open_session

_ROUNDS, _SECONDS = 150, 3.0
_SCALE = 0.05


class LinearCase(NamedTuple):
    """A linear as its cost depends on it.

    Attributes:
        operator: MatMul, Gemm or Conv.
        source: shape of its input, batch included.
        weight: shape of its weight.
        attributes: of the node: (name, integer or integers).
    """

    operator: str
    source: tuple[int, ...]
    weight: tuple[int, ...]
    attributes: tuple[tuple[str, Any], ...] = ()


def saved_milliseconds(cases: Mapping[str, LinearCase], backend: str) -> dict[str, float]:
    """Milliseconds that int8 saves at each linear; negative where it costs time.

    The difference of the fastest rounds: whatever else the machine does only adds time, and these
    runs are so short that it would decide their medians (on a busy one, int8 seemed to cost time
    at two thirds of a ViT's layers). Equal cases are measured once.

    Args:
        cases: by a name of the caller's choice.
        backend: as `runtime.backends.open_session` takes it.

    Raises:
        EngineError: the back end is not installed or refuses a linear.
    """
    found = {case: _saved(case, backend) for case in dict.fromkeys(cases.values())}
    return {name: found[case] for name, case in cases.items()}


def _saved(case: LinearCase, backend: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        sessions = {}
        try:
            for kind in ("float", "int8"):
                path = Path(folder) / f"{kind}.onnx"
                onnx.save(linear_graph(case, int8=kind == "int8"), path)
                sessions[kind] = open_session(backend, path)
            noise = np.random.default_rng(0).normal(size=case.source).astype(np.float32)
            times = latency.measure(sessions, {"x": noise}, _ROUNDS, _SECONDS)
        finally:
            for session in sessions.values():
                session.close()
    return min(times["float"].taken) - min(times["int8"].taken)


def linear_graph(case: LinearCase, int8: bool) -> onnx.ModelProto:
    """x -> the linear -> y with random weights, in float or with Q/DQ as a typed graph has it."""
    generator = np.random.default_rng(0)
    attributes: dict[str, Any] = dict(case.attributes)
    gemm = case.operator == "Gemm" and attributes.get("transB")
    axis = 0 if gemm or case.operator == "Conv" else 1
    nodes = []
    constants: dict[str, np.ndarray]
    if int8:
        step = np.float32(_SCALE)
        constants = {
            "weight": generator.integers(-127, 128, case.weight, dtype=np.int8),
            "weight.scale": np.full(case.weight[axis], step),
            "weight.zero": np.zeros(case.weight[axis], np.int8),
            "x.scale": np.array(step),
            "x.zero": np.array(0, np.int8),
        }
        parameters = ["x.scale", "x.zero"]
        nodes = [
            helper.make_node("QuantizeLinear", ["x", *parameters], ["x.int8"], axis=1),
            helper.make_node("DequantizeLinear", ["x.int8", *parameters], ["x.read"], axis=1),
            helper.make_node(
                "DequantizeLinear", ["weight", "weight.scale", "weight.zero"], ["weight.read"],
                axis=axis,
            ),
        ]  # fmt: skip
    else:
        constants = {"weight": generator.normal(0.0, _SCALE, case.weight).astype(np.float32)}
    inputs = ["x.read", "weight.read"] if int8 else ["x", "weight"]
    nodes.append(helper.make_node(case.operator, inputs, ["y"], **attributes))
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, case.source)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(case.source))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
