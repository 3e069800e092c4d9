"""Plans that do not open: one line each, and nothing is left on the device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import EngineError
from runtime.backends import open_session
from tests.fakes import tensorrt_runtime
from tests.fakes.cuda_machine import Machine
from tests.fakes.cuda_runtime import cudaError_t
from tests.fakes.tensorrt_runtime import _plan, _refused
from tests.runtime.toy_sessions import ROWS, Opener


@pytest.fixture
def opened(machine: Machine, tmp_path: Path) -> Iterator[Opener]:
    with Opener(tmp_path) as opener:
        yield opener


@pytest.mark.parametrize(
    "failing", ["cudaStreamCreateWithFlags", "cudaEventCreateWithFlags", "cudaMalloc"]
)
def test_half_an_opening_is_undone(opened: Opener, machine: Machine, failing: str) -> None:
    machine.failures[failing] = cudaError_t.cudaErrorMemoryAllocation
    with pytest.raises(EngineError, match=f"{failing} failed with cudaErrorMemoryAllocation"):
        opened()


def test_no_context(opened: Opener) -> None:
    _refused.add("create_execution_context")
    with pytest.raises(EngineError, match=r"cannot create an execution context .*OutOfMemory"):
        opened()


def test_tensorrt_for_another_cuda(opened: Opener) -> None:
    _refused.add("Runtime")
    with pytest.raises(EngineError, match=r"does not start \(CUDA init.*35\); install one for the"):
        opened()


def test_a_plan_too_large_for_the_memory(opened: Opener) -> None:
    _refused.add("deserialize_cuda_engine")
    with pytest.raises(EngineError, match=r"OutOfMemory.*\); close other users of the device's"):
        opened()


def test_a_plan_that_tensorrt_refuses(opened: Opener, tmp_path: Path) -> None:
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
def test_tensors_that_the_runtime_cannot_give(opened: Opener, plan: bytes) -> None:
    with pytest.raises(EngineError, match=r"tensor 'x' is .*expected one of FLOAT, HALF"):
        opened(plan)


def test_graphs_only_of_the_graph_as_it_is(opened: Opener) -> None:
    with pytest.raises(ValueError, match="tensorrt cannot run faithfully; use onnxruntime"):
        opened(faithful=True)


@pytest.mark.parametrize("refused", ["deserialize_cuda_engine", "create_execution_context"])
def test_a_kept_exception_keeps_nothing_on_the_device(opened: Opener, refused: str) -> None:
    _refused.add(refused)
    with pytest.raises(EngineError) as caught:
        opened()
    assert caught.value.__traceback__ is not None
    assert list(tensorrt_runtime._alive) == []


def test_a_kept_exception_of_tensors_keeps_no_engine(opened: Opener) -> None:
    with pytest.raises(EngineError) as caught:
        opened(_plan("affine", {"x": ["BF16", ROWS]}, {"y": "BF16"}))
    assert caught.value.__traceback__ is not None
    assert list(tensorrt_runtime._alive) == []
