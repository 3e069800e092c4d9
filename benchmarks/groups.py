"""Where an engine's time goes in OpenVINO: its own profile, summed by kind of work."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arithmetic import Work
from export.answers import Arrays

_REST = "rest"
_GROUPS = {
    Work.ATTENTION: {"MatMul", "Softmax", "ScaledDotProductAttention"},
    "layer norms": {"MVN", "NormalizeL2", "RMSNorm", "RMS"},
    "layout": {
        "Transpose", "Reshape", "Gather", "GatherND", "GatherElements", "Concat", "Concatenation",
        "Slice", "StridedSlice", "Split", "Pad", "Tile", "Broadcast", "Roll", "SpaceToDepth",
        "DepthToSpace", "Squeeze", "Unsqueeze", "ScatterUpdate", "ScatterNDUpdate",
    },
    "reorders and quantisers": {"Reorder", "FakeQuantize", "Convert"},
    "GELU and elementwise": {
        "Gelu", "Erf", "Add", "Subtract", "Multiply", "Divide", "Power", "PowerStatic", "MulAdd",
        "Relu", "Clamp", "Tanh", "Sigmoid", "Exp", "Sqrt", "Swish", "HSwish", "Eltwise",
        "Subgraph", "Select", "Maximum", "Minimum",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Profile:
    """An engine's time for one batch, in milliseconds.

    Attributes:
        groups: by kind of work, the largest first; each is the median over runs.
        rest: node types that fell into no group, with their share of `groups["rest"]`.
        wall: of a run without profiling, median.
    """

    groups: dict[str, float]
    rest: dict[str, float]
    wall: float


def group_of(node_type: str, exec_type: str) -> str:
    """Group of one line of OpenVINO's profile, e.g. ("FullyConnected", "brgemm_avx512_i8").

    What OpenVINO fuses into a linear (its bias, GELU, the next quantiser) counts with the linear.
    """
    int8 = exec_type.lower().endswith(("_i8", "_u8"))
    if node_type.startswith("FullyConnected"):
        return Work.INT8_LINEAR if int8 else Work.FLOAT_LINEAR
    if node_type.endswith("Convolution"):
        return Work.INT8_CONVOLUTION if int8 else Work.FLOAT_CONVOLUTION
    return next((group for group, types in _GROUPS.items() if node_type in types), _REST)


def profile(file: Path, inputs: Arrays, rounds: int) -> Profile:
    """Profiles an ONNX file on the CPU, in float32 with the latency hint, after two warm-ups.

    Args:
        file: ONNX.
        inputs: one batch.
        rounds: runs with profiling, and as many without.
    """
    quiet, loud = _request(file, profiled=False), _request(file, profiled=True)
    attention = _fused_attention(file, loud.get_compiled_model())
    for request in (quiet, loud) * 2:
        request.infer(dict(inputs))
    walls: list[float] = []
    sums: list[Counter[str]] = []
    rest: list[Counter[str]] = []
    for _ in range(rounds):
        start = time.perf_counter()
        quiet.infer(dict(inputs))
        walls.append(1e3 * (time.perf_counter() - start))
        loud.infer(dict(inputs))
        sums.append(Counter())
        rest.append(Counter())
        for line in loud.get_profiling_info():
            fused = line.node_name in attention
            group = Work.ATTENTION if fused else group_of(line.node_type, line.exec_type)
            spent = 1e3 * line.real_time.total_seconds()
            sums[-1][group] += spent
            if group == _REST:
                rest[-1][line.node_type] += spent
    return Profile(_medians(sums), _medians(rest), float(np.median(walls)))


def _fused_attention(file: Path, compiled: Any) -> set[str]:
    """Names of the nodes into which OpenVINO has fused a whole attention.

    Their type, Subgraph, is also that of fused elementwise operators.
    """
    import openvino

    operators = openvino.Core().read_model(file).get_ordered_ops()
    types = {op.get_friendly_name(): op.get_type_name() for op in operators}
    found = set()
    for op in compiled.get_runtime_model().get_ordered_ops():
        info = op.get_rt_info()
        if info["layerType"].get() == "Subgraph":
            originals = info["originalLayersNames"].get().split(",")
            if any(types.get(name) in ("MatMul", "Softmax") for name in originals):
                found.add(op.get_friendly_name())
    return found


def _medians(sums: list[Counter[str]]) -> dict[str, float]:
    medians = {key: float(np.median([one[key] for one in sums])) for key in sums[0]}
    return {key: medians[key] for key in sorted(medians, key=lambda k: -medians[k])}


def _request(file: Path, *, profiled: bool) -> Any:
    import openvino

    # As our own session is compiled; it does not expose its request.
    config = {
        "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "PERF_COUNT": profiled,
    }  # fmt: skip
    core = openvino.Core()
    return core.compile_model(core.read_model(file), "CPU", config).create_infer_request()
