"""CUDA's runtime behind our wrapper: statuses, memory, streams and graphs."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from runtime import EngineError
from runtime.backends import open_session
from runtime.cuda_device import CudaError, Device, call, current_device, using_device
from runtime.cuda_memory import DeviceBuffer, PinnedBuffer
from runtime.cuda_stream import Stream
from tests.fakes.cuda_machine import Machine
from tests.fakes.cuda_runtime import cudaError_t


@pytest.fixture
def stream(machine: Machine) -> Iterator[Stream]:
    stream = Stream()
    yield stream
    stream.close()
    stream.close()


def test_what_calls_return(machine: Machine) -> None:
    assert call("cudaGetDevice") == 0
    assert call("cudaMemGetInfo") == (1 << 30, 1 << 30)
    assert call("cudaSetDevice", 0) is None
    assert current_device() == Device(0, "Orin", "8.7")


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (
            "cudaErrorNoDevice",
            "run on a machine with an NVIDIA GPU that CUDA_VISIBLE_DEVICES shows",
        ),
        ("cudaErrorInsufficientDriver", "install NVIDIA's driver, or cuda-bindings of its CUDA"),
        ("cudaErrorIllegalAddress", "start the process again"),
    ],
)
def test_a_failure_has_cudas_name_and_a_remedy(machine: Machine, status: str, remedy: str) -> None:
    machine.failures["cudaGetDevice"] = cudaError_t[status]
    with pytest.raises(CudaError, match=rf"cudaGetDevice failed with {status} \(.*\); {remedy}"):
        current_device()
    # Taken, so that the next to ask for the last error does not find ours.
    assert machine.calls[-1] == "cudaGetLastError"


def test_out_of_memory_says_what_was_wanted_and_what_there_is(machine: Machine) -> None:
    with pytest.raises(CudaError, match=r"wanted 2048\.0 MiB, 1024 of 1024 are free; close other"):
        DeviceBuffer().reserve(2 << 30)


def test_no_cuda_bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(
        EngineError, match=r"cuda\.bindings does not import .*'cuda-bindings<13' on"
    ):
        current_device()


def test_a_driver_that_cannot_be_loaded(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("Function cudaGetDevice not found in libcuda")

    monkeypatch.setattr("tests.fakes.cuda_runtime.cudaGetDevice", fail)
    with pytest.raises(CudaError, match=r"cudaGetDevice failed \(Function .*\); update the driver"):
        current_device()


def test_no_tensorrt_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineError, match=r"python3-libnvinfer .*`pip install tensorrt-cu12`"):
        open_session("tensorrt", tmp_path / "model.plan")


def test_tensorrt_without_a_device(machine: Machine, tmp_path: Path) -> None:
    machine.failures["cudaGetDevice"] = cudaError_t.cudaErrorNoDevice
    with pytest.raises(EngineError, match="cudaErrorNoDevice"):
        open_session("tensorrt", tmp_path / "model.plan")


def test_the_device_of_the_thread_is_given_back(machine: Machine) -> None:
    machine.device_count = 2
    with pytest.raises(ValueError, match="out"), using_device(1):
        assert machine.device == 1
        raise ValueError("out")
    assert machine.device == 0
    with pytest.raises(CudaError, match="cudaSetDevice failed"), using_device(2):
        pass


def test_buffers_grow_and_never_shrink(machine: Machine) -> None:
    buffer = DeviceBuffer()
    assert buffer.reserve(0) == 0
    first = buffer.reserve(100)
    assert (buffer.reserve(50), buffer.reserve(100)) == (first, first)
    assert buffer.reserve(101) != first
    assert machine.left() == {"device memory": 1}
    buffer.close()
    buffer.close()


def test_a_buffer_that_cannot_grow_holds_nothing(machine: Machine) -> None:
    buffer = DeviceBuffer()
    buffer.reserve(100)
    with pytest.raises(CudaError):
        buffer.reserve(2 << 30)
    assert (buffer.address, machine.left()) == (0, {})


def test_copies_are_done_when_waited_for(machine: Machine, stream: Stream) -> None:
    device, pinned = DeviceBuffer(), PinnedBuffer()
    view = pinned.view((2, 3), np.dtype("float32"))
    view[:] = [[1, 2, 3], [4, 5, 6]]
    there = device.reserve(48)
    stream.to_device(there, pinned.address, 24)
    stream.on_device(there + 24, there, 24)
    stream.synchronise()
    view[:] = 0
    stream.to_host(pinned.address, there + 24, 24)
    assert not view.any()  # still on its way
    stream.synchronise()
    np.testing.assert_array_equal(view, [[1, 2, 3], [4, 5, 6]])
    device.close()
    pinned.close()


def test_views_of_nothing(machine: Machine) -> None:
    pinned = PinnedBuffer()
    assert pinned.view((0, 3), np.dtype("int64")).shape == (0, 3)
    assert machine.left() == {}


def test_waiting_for_another_stream(machine: Machine, stream: Stream) -> None:
    done: list[str] = []
    machine.streams[1].put(lambda: done.append("theirs"))
    stream.wait_for(1)
    machine.streams[1].put(lambda: done.append("later"))
    machine.stream(stream.handle).put(lambda: done.append("ours"))
    stream.synchronise()
    assert done == ["theirs", "ours"]
    machine.streams[1].run()


def test_a_graph_replays_what_was_captured(machine: Machine, stream: Stream) -> None:
    done: list[str] = []
    graph = stream.capture(lambda: machine.stream(stream.handle).put(lambda: done.append("work")))
    stream.synchronise()
    assert done == []
    for _ in range(2):
        graph.launch(stream)
    stream.synchronise()
    assert done == ["work", "work"]
    graph.close()
    graph.close()


def test_a_capture_that_fails_leaves_the_stream_usable(machine: Machine, stream: Stream) -> None:
    def fail() -> None:
        raise ValueError("in the midst")

    with pytest.raises(ValueError, match="in the midst"):
        stream.capture(fail)
    with pytest.raises(CudaError, match="cudaErrorStreamCaptureUnsupported"):
        stream.capture(lambda: DeviceBuffer().reserve(8) and None)
    assert "graphs" not in machine.left()
    stream.capture(lambda: None).close()


def test_the_fake_finds_what_the_tests_rely_on_it_to_find(machine: Machine) -> None:
    """Use after free, double free, overrun and a wrong direction are assertion errors."""
    stream, buffer, pinned = Stream(), DeviceBuffer(), PinnedBuffer()
    there, here = buffer.reserve(16), pinned.reserve(16)
    with pytest.raises(AssertionError, match="overrun"):
        stream.to_device(there, here, 17)
    with pytest.raises(AssertionError, match="HostToDevice"):
        stream.to_device(here, there, 16)
    stream.to_device(there, here, 16)
    with pytest.raises(AssertionError, match="work is pending"):
        call("cudaFree", there)
    stream.synchronise()
    buffer.close()
    with pytest.raises(AssertionError, match="freed twice"):
        call("cudaFree", there)
    with pytest.raises(AssertionError, match="is not allocated, or no more"):
        stream.to_device(there, here, 16)
    assert machine.left() == {"pinned memory": 1, "streams": 1, "events": 1}
    assert ctypes.string_at(here, 16) == b"\xa5" * 16
    pinned.close()
    stream.close()
