from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import EngineError
from runtime.backends import Session, open_session
from runtime.backends.tensorrt_tensors import choose_profile
from runtime.cuda_device import CudaError
from tests.fakes import tensorrt_runtime
from tests.fakes.cuda_machine import Machine
from tests.fakes.cuda_runtime import cudaError_t
from tests.fakes.tensorrt_runtime import _calls, _plan, _refused

Open = Callable[..., Any]
ROWS = [[[1, 4], [2, 4], [64, 4]]]  # one profile: 1 to 64 rows
AFFINE = _plan("affine", {"x": ["FLOAT", ROWS]}, {"y": "FLOAT"})
POSITIVE = _plan(
    "positive", {"x": ["FLOAT", ROWS]}, {"found": "FLOAT", "top": "FLOAT"}, unknown=["found"]
)


@pytest.fixture
def opened(machine: Machine, tmp_path: Path) -> Iterator[Open]:
    """Opens plans, and closes them before the machine is looked at."""
    sessions: list[Session] = []

    def open_plan(plan: bytes = AFFINE, **more: Any) -> Session:
        (tmp_path / "model.plan").write_bytes(plan)
        sessions.append(open_session("tensorrt", tmp_path / "model.plan", **more))
        return sessions[-1]

    yield open_plan
    while sessions:
        sessions.pop().close()


def rows(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((count, 4), np.float32)


def refused(session: Session, inputs: Any, message: str) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        session.run(inputs)
    assert "\n" not in str(caught.value)


def test_answers_of_changing_shapes_belong_to_the_caller(opened: Open) -> None:
    session = opened()
    assert (session.name, session.version) == ("tensorrt", "10.3.0")
    kept = []
    for count in (2, 5, 5, 1, 5, 5, 64, 2, 2):  # each grows, shrinks or repeats
        x = rows(count, seed=len(kept))
        kept.append((x, session.run({"x": x})["y"]))
    for x, y in kept:  # later runs have left them alone
        np.testing.assert_array_equal(y, 2 * x + 1)  # exact: the fake computes the same
        y[:] = 0  # writable


@pytest.mark.parametrize("kind", ["FLOAT", "HALF", "INT8", "UINT8", "INT32", "INT64"])
def test_dtypes(opened: Open, kind: str) -> None:
    session = opened(_plan("affine", {"x": [kind, ROWS]}, {"y": kind}))
    dtype = {"FLOAT": "float32", "HALF": "float16"}.get(kind, kind.lower())
    x = np.arange(8).reshape(2, 4).astype(dtype)
    found = session.run({"x": x})["y"]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, [[1, 3, 5, 7], [9, 11, 13, 15]])


def test_booleans(opened: Open) -> None:
    session = opened(_plan("invert", {"mask": ["BOOL", ROWS]}, {"y": "BOOL"}))
    found = session.run({"mask": np.array([[True, False, False, True]])})["y"]
    np.testing.assert_array_equal(found, [[False, True, True, False]])


def test_strided_inputs_and_several_outputs(opened: Open) -> None:
    profiles = [[[1, 1], [2, 2], [4, 4]]]
    session = opened(
        _plan(
            "sum_and_difference",
            {"a": ["FLOAT", profiles], "b": ["FLOAT", profiles]},
            {"sum": "FLOAT", "difference": "FLOAT"},
        )
    )
    a = np.arange(8, dtype=np.float32).reshape(2, 4)[:, ::2]
    found = session.run({"b": a.T, "a": a})
    assert list(found) == ["sum", "difference"]
    np.testing.assert_array_equal(found["sum"], a + a.T)
    np.testing.assert_array_equal(found["difference"], a - a.T)


def test_memory_is_allocated_once_and_waited_for_once(opened: Open, machine: Machine) -> None:
    session = opened()
    session.run({"x": rows(64)})
    for count in (3, 9, 64):
        machine.calls.clear()
        session.run({"x": rows(count)})
        assert not {"cudaMalloc", "cudaFree", "cudaMallocHost"} & set(machine.calls)
        assert machine.calls.count("cudaStreamSynchronize") == 1 + (count == 64)  # one captures


def test_a_graph_is_captured_at_the_second_sight_and_replayed(
    opened: Open, machine: Machine
) -> None:
    session = opened()
    launches = []
    for seed in range(5):
        _calls.clear()
        machine.calls.clear()
        x = rows(3, seed)
        np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x + 1)
        launches.append((_calls.count("execute_async_v3"), "cudaGraphLaunch" in machine.calls))
    # Plainly; in a context of its own and once more for the capture; then by the graph alone.
    assert launches == [(1, False), (2, False), (0, True), (0, True), (0, True)]


def test_graphs_are_bounded_and_the_least_recently_used_goes(
    opened: Open, machine: Machine
) -> None:
    session = opened()
    session.run({"x": rows(64)})  # so that the addresses stay
    replayed = {}
    for count in range(2, 22):
        for rounds in (count, count, 1):  # a single row is used all the time
            x = rows(rounds, count)
            np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x + 1)
    assert machine.left()["graphs"] == 8
    for count in (1, 21, 15, 14):  # as many as there are graphs, and one more
        machine.calls.clear()
        session.run({"x": rows(count)})
        replayed[count] = "cudaGraphLaunch" in machine.calls
    assert replayed == {1: True, 21: True, 15: True, 14: False}


@pytest.mark.parametrize(
    "failing",
    [
        "cudaStreamBeginCapture",
        "cudaStreamEndCapture",
        "cudaGraphInstantiate",
    ],
)
def test_what_cannot_be_captured_is_launched_plainly(
    opened: Open, machine: Machine, caplog: pytest.LogCaptureFixture, failing: str
) -> None:
    session = opened()
    machine.failures[failing] = cudaError_t.cudaErrorStreamCaptureUnsupported
    with caplog.at_level("INFO"):
        for seed in range(4):
            x = rows(3, seed)
            np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x + 1)
    (record,) = caplog.records
    assert "no CUDA graph, launching plainly" in record.message
    assert "cudaErrorStreamCaptureUnsupported" in record.message


def test_a_launch_that_fails_while_captured(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened()
    session.run({"x": rows(3)})
    context = tensorrt_runtime.IExecutionContext
    monkeypatch.setattr(context, "_warm", property(lambda _: False, lambda *_: None), raising=False)
    for seed in range(3):
        x = rows(3, seed)
        np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x + 1)


def test_outputs_shaped_by_the_data(opened: Open, machine: Machine) -> None:
    session = opened(POSITIVE)
    none = -np.ones((2, 4), np.float32)
    for x in (rows(2), rows(40), none, rows(40, 1), rows(40, 2), rows(3)):
        found = session.run({"x": x})
        np.testing.assert_array_equal(found["found"], x[x > 0])
        np.testing.assert_array_equal(found["top"], x.max(axis=0))
    assert "cudaStreamBeginCapture" not in machine.calls


def test_no_memory_for_an_output_shaped_by_the_data(opened: Open, machine: Machine) -> None:
    session = opened(POSITIVE)
    session.run({"x": rows(2)})
    machine.total = sum(map(len, machine.memory.values())) + 700  # for the input, not the output
    refused(session, {"x": np.ones((40, 4), np.float32)}, "cudaErrorMemoryAllocation")
    machine.total = 1 << 30
    assert session.run({"x": np.ones((40, 4), np.float32)})["found"].shape == (160,)


def test_the_profile_that_admits_the_shapes_is_used(opened: Open) -> None:
    profiles = [[[1, 4], [1, 4], [2, 4]], [[8, 4], [8, 4], [16, 4]]]
    session = opened(_plan("affine", {"x": ["FLOAT", profiles]}, {"y": "FLOAT"}))
    for count in (2, 8, 16, 1, 1, 8, 8, 1):
        x = rows(count)
        np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x + 1)
    refused(
        session,
        {"x": rows(5)},
        r"found x \(5, 4\), the engine's profiles admit x \(1, 4\)\.\.\(2, 4\); or "
        r"x \(8, 4\)\.\.\(16, 4\): infer within one",
    )
    refused(session, {"x": np.zeros(4, np.float32)}, r"found x \(4,\)")
    assert session.run({"x": rows(2)})["y"].shape == (2, 4)


@pytest.mark.parametrize(
    ("shape", "profile"),
    [
        pytest.param((2, 4), 0, id="lying"),
        pytest.param((4, 2), 1, id="standing"),
        pytest.param((3, 3), 0, id="as-near-to-both"),
    ],
)
def test_of_several_profiles_the_one_tuned_nearest_is_used(
    opened: Open, shape: tuple[int, int], profile: int
) -> None:
    profiles = [[[1, 1], [2, 4], [4, 4]], [[1, 1], [4, 2], [4, 4]]]
    session = opened(_plan("affine", {"x": ["FLOAT", profiles]}, {"y": "FLOAT"}))
    tensors = session._engine.inputs
    x = np.ones(shape, np.float32)
    assert choose_profile(tensors, {"x": x}) == profile
    np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x + 1)


def test_an_input_of_fixed_shape(opened: Open) -> None:
    session = opened(_plan("affine", {"x": ["FLOAT", [[[2, 4]] * 3]]}, {"y": "FLOAT"}))
    assert session.run({"x": rows(2)})["y"].shape == (2, 4)
    refused(session, {"x": rows(3)}, r"admit x \(2, 4\)\.\.\(2, 4\)")


def test_a_profile_that_tensorrt_refuses(opened: Open) -> None:
    profiles = [[[1, 4], [1, 4], [2, 4]], [[8, 4], [8, 4], [16, 4]]]
    session = opened(_plan("affine", {"x": ["FLOAT", profiles]}, {"y": "FLOAT"}))
    _refused.add("set_optimization_profile_async")
    refused(session, {"x": rows(8)}, r"refuses optimisation profile 1 \(profile is in use\)")


def test_shapes_that_contradict_each_other_within_the_graph(opened: Open) -> None:
    session = opened()
    _refused.add("infer_shapes")
    refused(session, {"x": rows(2)}, r"cannot infer shapes for \(\(2, 4\),\) \(Reshape: -1 wildc")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        pytest.param({}, r"inputs are \[\], the engine has \['x'\]", id="missing"),
        pytest.param({"x": rows(1), "z": rows(1)}, "inputs are", id="surplus"),
        pytest.param({"x": rows(1).astype(float)}, "x is float64, the engine takes", id="dtype"),
    ],
)
def test_inputs_of_another_model(opened: Open, inputs: Any, message: str) -> None:
    refused(opened(), inputs, message)


def test_out_of_memory_at_run_says_how_much_and_can_be_survived(
    opened: Open, machine: Machine
) -> None:
    session = opened()
    session.run({"x": rows(1)})
    machine.total = sum(map(len, machine.memory.values())) + 100
    refused(
        session,
        {"x": rows(64)},
        r"cudaMalloc failed with cudaErrorMemoryAllocation \(.*\): wanted 0\.0 MiB, 0 of 0 are "
        "free; close other users of the device or infer smaller batches",
    )
    assert "cudaGetLastError" in machine.calls
    machine.total = 1 << 30
    x = rows(64)
    np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x + 1)


def test_a_failing_launch_leaves_nothing_pending(opened: Open, machine: Machine) -> None:
    session = opened()
    _refused.add("execute_async_v3")
    refused(session, {"x": rows(2)}, r"TensorRT failed to run \(Error Code 1: Cuda Runtime")
    machine.idle()


def test_a_failure_of_the_device_is_one_line(opened: Open, machine: Machine) -> None:
    session = opened()
    machine.failures["cudaStreamSynchronize"] = cudaError_t.cudaErrorIllegalAddress
    with pytest.raises(CudaError, match=r"cudaErrorIllegalAddress .*start the process") as caught:
        session.run({"x": rows(2)})
    assert caught.value.status == "cudaErrorIllegalAddress"
    del machine.failures["cudaStreamSynchronize"]


def test_two_sessions_close_in_either_order(opened: Open) -> None:
    first, second = opened(), opened()
    first.close()
    x = rows(2)
    np.testing.assert_array_equal(second.run({"x": x})["y"], 2 * x + 1)


def test_closing_twice(opened: Open) -> None:
    session = opened(POSITIVE)
    session.run({"x": rows(2)})
    session.close()
    session.close()


def test_a_close_that_fails_still_frees_the_rest(opened: Open, machine: Machine) -> None:
    session = opened()
    session.run({"x": rows(2)})
    machine.failures["cudaFree"] = cudaError_t.cudaErrorIllegalAddress
    with pytest.raises(CudaError, match="cudaFree failed with cudaErrorIllegalAddress"):
        session.close()


@pytest.mark.parametrize(
    "failing", ["cudaStreamCreateWithFlags", "cudaEventCreateWithFlags", "cudaMalloc"]
)
def test_half_an_opening_is_undone(opened: Open, machine: Machine, failing: str) -> None:
    machine.failures[failing] = cudaError_t.cudaErrorMemoryAllocation
    with pytest.raises(EngineError, match=f"{failing} failed with cudaErrorMemoryAllocation"):
        opened()


def test_no_context(opened: Open) -> None:
    _refused.add("create_execution_context")
    with pytest.raises(EngineError, match=r"cannot create an execution context .*OutOfMemory"):
        opened()


def test_tensorrt_for_another_cuda(opened: Open) -> None:
    _refused.add("Runtime")
    with pytest.raises(EngineError, match=r"does not start \(CUDA init.*35\); install one for the"):
        opened()


def test_a_plan_too_large_for_the_memory(opened: Open) -> None:
    _refused.add("deserialize_cuda_engine")
    with pytest.raises(EngineError, match=r"OutOfMemory.*\); close other users of the device's"):
        opened()


def test_a_plan_that_tensorrt_refuses(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"refuses .*model\.plan \(Serialization.*\); build"):
        opened(b"another plan")
    with pytest.raises(EngineError, match=r"absent\.plan cannot be read"):
        open_session("tensorrt", tmp_path / "absent.plan")


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(_plan("affine", {"x": ["BF16", ROWS]}, {"y": "BF16"}), id="bfloat16"),
        pytest.param(
            _plan("affine", {"x": ["INT64", ROWS]}, {"y": "INT64"}, host=["x"]), id="on the host"
        ),
    ],
)
def test_tensors_that_the_runtime_cannot_give(opened: Open, plan: bytes) -> None:
    with pytest.raises(EngineError, match=r"tensor 'x' is .*expected one of FLOAT, HALF"):
        opened(plan)


def test_a_second_device(opened: Open, machine: Machine) -> None:
    machine.device_count = 2
    machine.device = 1
    session = opened()
    machine.device = 0  # as a thread of the application has it
    session.run({"x": rows(2)})
    assert set(machine.where.values()) == {1}
    assert machine.device == 0


def test_graphs_only_of_the_graph_as_it_is(opened: Open) -> None:
    with pytest.raises(ValueError, match="tensorrt cannot run faithfully; use onnxruntime"):
        opened(faithful=True)
