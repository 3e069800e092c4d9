"""Times of an engine's layers, on the fake device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from export.bench import layers_as_text, measure_layers
from runtime import EngineError
from runtime.backends.profiled import LayerTime, ProfiledSession, open_profiled
from tests.fakes.cuda_machine import Machine
from tests.fakes.tensorrt_runtime import _plan
from tests.runtime.plan_bundles import FRAMES, write_plan_bundle
from tests.runtime.toy_sessions import ROWS, rows

# Of four launches, of which the first is slow and does not count; the loop's body runs twice.
LAYERS = [
    [["gemm", 90.0], ["body", 50.0], ["body", 50.0]],
    [["gemm", 3.0], ["body", 0.5], ["body", 0.75]],
    [["gemm", 1.0], ["body", 0.5], ["body", 0.5]],
    [["gemm", 2.0], ["body", 1.0], ["body", 1.0]],
]


DESCRIBED = [
    {"Name": "body [profile 1]", "Metadata": "[ONNX Layer: a/add]\x1f[ONNX Layer: a/mul]"},
    {"Name": "other"},
]


def profiled(folder: Path, **more: object) -> ProfiledSession:
    plan = folder / "model.plan"
    plan.write_bytes(_plan("affine", {"x": ["FLOAT", ROWS]}, {"y": "FLOAT"}, **more))
    return open_profiled("tensorrt", plan)


@pytest.fixture
def session(machine: Machine, tmp_path: Path) -> Iterator[ProfiledSession]:
    session = profiled(tmp_path, layers=LAYERS, described=DESCRIBED)
    yield session
    session.close()


def test_layers_are_timed_in_their_order_without_the_first_launch(
    session: ProfiledSession,
) -> None:
    found = session.layer_times({"x": rows(2)}, rounds=3)
    assert found == [LayerTime("gemm", "", 2.0), LayerTime("body", "a/add, a/mul", 1.25)]


def test_nothing_is_captured_meanwhile(session: ProfiledSession, machine: Machine) -> None:
    session.layer_times({"x": rows(2)}, rounds=3)
    assert "cudaStreamBeginCapture" not in machine.calls
    assert "cudaGraphLaunch" not in machine.calls


def test_an_engine_without_layers_is_refused(machine: Machine, tmp_path: Path) -> None:
    session = profiled(tmp_path, layers=[[], []])
    with pytest.raises(EngineError, match="reports no layers of this engine; build the bundle"):
        session.layer_times({"x": rows(2)}, rounds=1)
    session.close()


def test_inputs_are_checked_as_in_a_run(session: ProfiledSession) -> None:
    with pytest.raises(EngineError, match=r"admit x \(1, 4\)\.\.\(64, 4\)"):
        session.layer_times({"x": np.zeros((65, 4), np.float32)}, rounds=1)


def test_bench_times_the_plan_of_a_bundle(machine: Machine, tmp_path: Path) -> None:
    plan = _plan(
        "mean_colour", {"pixel_values": ["FLOAT", FRAMES]}, {"logits": "FLOAT"},
        layers=LAYERS, described=DESCRIBED,
    )  # fmt: skip
    bundle = write_plan_bundle(tmp_path / "orin", plan=plan)
    (row,) = measure_layers(bundle, [2], rounds=3)
    assert row["layers"] == [
        {"name": "gemm", "detail": "", "ms": 2.0, "share": 2 / 3.25},
        {"name": "body", "detail": "a/add, a/mul", "ms": 1.25, "share": 1.25 / 3.25},
    ]
    assert list(layers_as_text(row)) == [
        "batch   2   2 layers take 3.25 ms",
        "    61.5%     2.000 ms   gemm",
        "    38.5%     1.250 ms   body   a/add, a/mul",
    ]
