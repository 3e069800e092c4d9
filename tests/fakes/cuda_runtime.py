"""A stand-in for `cuda.bindings.runtime`, on the machine of `cuda_machine`.

Public names and parameters are the real ones; `test_cuda_contract.py` compares them.
"""

# ruff: noqa: N801, N802, N803, N815, N816 (the names are NVIDIA's)

from __future__ import annotations

import ctypes
import dataclasses
import enum
from typing import Any

from tests.fakes.cuda_machine import MACHINE as _MACHINE
from tests.fakes.cuda_machine import RUBBISH as _RUBBISH
from tests.fakes.cuda_machine import Stream as _Stream

cudaStreamNonBlocking = 1
cudaEventDisableTiming = 2


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorInvalidResourceHandle = 400
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3


class cudaMemoryType(enum.IntEnum):
    cudaMemoryTypeUnregistered = 0
    cudaMemoryTypeHost = 1
    cudaMemoryTypeDevice = 2
    cudaMemoryTypeManaged = 3


class cudaStreamCaptureMode(enum.IntEnum):
    cudaStreamCaptureModeGlobal = 0
    cudaStreamCaptureModeThreadLocal = 1


@dataclasses.dataclass
class _Pointer:
    type: cudaMemoryType
    device: int


class _Handle:
    """A stream as the bindings return it: an object, of which `int` is the handle."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __int__(self) -> int:
        return self._number


_OK = cudaError_t.cudaSuccess


def cudaGetErrorString(error: Any) -> tuple[Any, ...]:
    return _OK, str(error.name).removeprefix("cudaError").lower().encode()


def cudaGetLastError() -> tuple[Any, ...]:
    _MACHINE.calls.append("cudaGetLastError")
    return (_OK,)


def cudaGetDevice() -> tuple[Any, ...]:
    if error := _MACHINE.refusal("cudaGetDevice"):
        return error, None
    return _OK, _MACHINE.device


def cudaSetDevice(device: int) -> tuple[Any, ...]:
    if not 0 <= device < _MACHINE.device_count:
        return (cudaError_t.cudaErrorInvalidValue,)
    _MACHINE.device = device
    return (_OK,)


def cudaGetDeviceProperties(device: int) -> tuple[Any, ...]:
    return _OK, _MACHINE.properties


def cudaMemGetInfo() -> tuple[Any, ...]:
    return _OK, _MACHINE.total - sum(map(len, _MACHINE.memory.values())), _MACHINE.total


def cudaDeviceSynchronize() -> tuple[Any, ...]:
    if error := _MACHINE.refusal("cudaDeviceSynchronize"):
        return (error,)
    for stream in _MACHINE.streams.values():
        stream.run()
    return (_OK,)


def cudaMalloc(size: int) -> tuple[Any, ...]:
    if error := _MACHINE.refusal("cudaMalloc"):
        return error, None
    if _MACHINE.capturing():
        return cudaError_t.cudaErrorStreamCaptureUnsupported, None
    if size > cudaMemGetInfo()[1]:
        return cudaError_t.cudaErrorMemoryAllocation, None
    return _OK, _MACHINE.allocate(size)


def cudaFree(devPtr: int) -> tuple[Any, ...]:
    error = _MACHINE.refusal("cudaFree")
    assert devPtr in _MACHINE.memory, f"{devPtr:#x} was freed twice, or never allocated"
    # The real one waits for the device. Whoever relies on that waits by accident.
    _MACHINE.idle()
    del _MACHINE.memory[devPtr], _MACHINE.where[devPtr]
    return (error or _OK,)


def cudaMallocHost(size: int) -> tuple[Any, ...]:
    if error := _MACHINE.refusal("cudaMallocHost"):
        return error, None
    block = (ctypes.c_uint8 * size).from_buffer(bytearray([_RUBBISH]) * size)
    _MACHINE.pinned[ctypes.addressof(block)] = block
    return _OK, ctypes.addressof(block)


def cudaFreeHost(ptr: int) -> tuple[Any, ...]:
    assert ptr in _MACHINE.pinned, f"{ptr:#x} was freed twice, or never allocated"
    _MACHINE.idle()
    del _MACHINE.pinned[ptr]
    return (_OK,)


def cudaPointerGetAttributes(ptr: int) -> tuple[Any, ...]:
    if error := _MACHINE.refusal("cudaPointerGetAttributes"):
        return error, None
    for base, block in _MACHINE.memory.items():
        if base <= ptr < base + len(block):
            return _OK, _Pointer(cudaMemoryType.cudaMemoryTypeDevice, _MACHINE.where[base])
    return _OK, _Pointer(cudaMemoryType.cudaMemoryTypeUnregistered, -2)


def cudaMemcpyAsync(dst: int, src: int, count: int, kind: Any, stream: Any) -> tuple[Any, ...]:
    if error := _MACHINE.refusal("cudaMemcpyAsync"):
        return (error,)
    to_host = kind == cudaMemcpyKind.cudaMemcpyDeviceToHost
    from_host = kind == cudaMemcpyKind.cudaMemcpyHostToDevice
    for address, host in ((dst, to_host), (src, from_host)):
        _MACHINE.find(address, count)
        assert (address in _MACHINE.pinned) == host, repr(kind)

    def copy() -> None:
        _MACHINE.find(dst, count)[:] = bytes(_MACHINE.find(src, count))

    _MACHINE.stream(stream).put(copy)
    return (_OK,)


def cudaStreamCreateWithFlags(flags: int) -> tuple[Any, ...]:
    if error := _MACHINE.refusal("cudaStreamCreateWithFlags"):
        return error, None
    # While a blocking stream is captured, nobody else may use the default stream.
    assert flags == cudaStreamNonBlocking
    number = _MACHINE.handle()
    _MACHINE.streams[number] = _Stream()
    return _OK, _Handle(number)


def cudaStreamDestroy(stream: Any) -> tuple[Any, ...]:
    _MACHINE.stream(stream)
    _MACHINE.idle()
    del _MACHINE.streams[int(stream)]
    return (_OK,)


def cudaStreamSynchronize(stream: Any) -> tuple[Any, ...]:
    if error := _MACHINE.refusal("cudaStreamSynchronize"):
        _MACHINE.stream(stream).pending.clear()
        return (error,)
    if _MACHINE.stream(stream).captured is not None:
        _MACHINE.capturing()
        return (cudaError_t.cudaErrorStreamCaptureUnsupported,)
    _MACHINE.stream(stream).run()
    return (_OK,)


def cudaEventCreateWithFlags(flags: int) -> tuple[Any, ...]:
    if error := _MACHINE.refusal("cudaEventCreateWithFlags"):
        return error, None
    number = _MACHINE.handle()
    _MACHINE.events[number] = lambda: None
    return _OK, number


def cudaEventRecord(event: Any, stream: Any) -> tuple[Any, ...]:
    source = _MACHINE.stream(stream)
    before = list(source.pending)

    def reach() -> None:
        """Run what was pending when the event was recorded, unless it has run by now."""
        for work in before:
            if work in source.pending:
                source.pending.remove(work)
                work()

    _MACHINE.events[event] = reach
    return (_OK,)


def cudaStreamWaitEvent(stream: Any, event: Any, flags: int) -> tuple[Any, ...]:
    _MACHINE.stream(stream).put(_MACHINE.events[event])
    return (_OK,)


def cudaEventDestroy(event: Any) -> tuple[Any, ...]:
    del _MACHINE.events[event]
    return (_OK,)


def cudaStreamBeginCapture(stream: Any, mode: Any) -> tuple[Any, ...]:
    if error := _MACHINE.refusal("cudaStreamBeginCapture"):
        return (error,)
    found = _MACHINE.stream(stream)
    found.captured, found.spoiled = [], False
    return (_OK,)


def cudaStreamEndCapture(stream: Any) -> tuple[Any, ...]:
    error = _MACHINE.refusal("cudaStreamEndCapture")
    found = _MACHINE.stream(stream)
    captured, found.captured = found.captured, None
    assert captured is not None, "the stream was not being captured"
    if error or found.spoiled:
        return error or cudaError_t.cudaErrorStreamCaptureInvalidated, None
    number = _MACHINE.handle()
    _MACHINE.graphs[number] = captured
    return _OK, number


def cudaGraphInstantiate(graph: Any, flags: int) -> tuple[Any, ...]:
    if error := _MACHINE.refusal("cudaGraphInstantiate"):
        return error, None
    number = _MACHINE.handle()
    _MACHINE.executables[number] = _MACHINE.graphs[graph]
    return _OK, number


def cudaGraphLaunch(graphExec: Any, stream: Any) -> tuple[Any, ...]:
    if error := _MACHINE.refusal("cudaGraphLaunch"):
        return (error,)
    for work in _MACHINE.executables[graphExec]:
        _MACHINE.stream(stream).put(work)
    return (_OK,)


def cudaGraphDestroy(graph: Any) -> tuple[Any, ...]:
    del _MACHINE.graphs[graph]
    return (_OK,)


def cudaGraphExecDestroy(graphExec: Any) -> tuple[Any, ...]:
    del _MACHINE.executables[graphExec]
    return (_OK,)
