"""Runs that fail: one line each, after which the session is of use again or closes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.cuda_device import CudaError
from tests.fakes.cuda_machine import Machine
from tests.fakes.cuda_runtime import cudaError_t
from tests.fakes.tensorrt_runtime import _refused
from tests.runtime.toy_sessions import POSITIVE, Opener, refused, rows


@pytest.fixture
def opened(machine: Machine, tmp_path: Path) -> Iterator[Opener]:
    with Opener(tmp_path) as opener:
        yield opener


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        pytest.param({}, r"inputs are \[\], the engine has \['x'\]", id="missing"),
        pytest.param({"x": rows(1), "z": rows(1)}, "inputs are", id="surplus"),
        pytest.param({"x": rows(1).astype(float)}, "x is float64, the engine takes", id="dtype"),
    ],
)
def test_inputs_of_another_model(opened: Opener, inputs: Any, message: str) -> None:
    refused(opened(), inputs, message)


def test_out_of_memory_at_run_says_how_much_and_can_be_survived(
    opened: Opener, machine: Machine
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


def test_no_memory_for_an_output_shaped_by_the_data(opened: Opener, machine: Machine) -> None:
    session = opened(POSITIVE)
    session.run({"x": rows(2)})
    machine.total = sum(map(len, machine.memory.values())) + 700  # for the input, not the output
    refused(session, {"x": np.ones((40, 4), np.float32)}, "cudaErrorMemoryAllocation")
    machine.total = 1 << 30
    assert session.run({"x": np.ones((40, 4), np.float32)})["found"].shape == (160,)


def test_a_failing_launch_leaves_nothing_pending(opened: Opener, machine: Machine) -> None:
    session = opened()
    _refused.add("execute_async_v3")
    refused(session, {"x": rows(2)}, r"TensorRT failed to run \(Error Code 1: Cuda Runtime")
    machine.idle()


def test_a_failure_of_the_device_is_one_line(opened: Opener, machine: Machine) -> None:
    session = opened()
    machine.failures["cudaStreamSynchronize"] = cudaError_t.cudaErrorIllegalAddress
    with pytest.raises(CudaError, match=r"cudaErrorIllegalAddress .*start the process") as caught:
        session.run({"x": rows(2)})
    assert caught.value.status == "cudaErrorIllegalAddress"
    del machine.failures["cudaStreamSynchronize"]


def test_a_close_that_fails_still_frees_the_rest(opened: Opener, machine: Machine) -> None:
    session = opened()
    session.run({"x": rows(2)})
    machine.failures["cudaFree"] = cudaError_t.cudaErrorIllegalAddress
    with pytest.raises(CudaError, match="cudaFree failed with cudaErrorIllegalAddress"):
        session.close()
