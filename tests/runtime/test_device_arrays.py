from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from runtime.cuda_stream import Stream
from runtime.device_arrays import DeviceArray, adopt
from tests.fakes.cuda_machine import Machine


class Interface:
    """An array of pycuda's or Numba's kind: nothing but `__cuda_array_interface__`."""

    def __init__(self, address: int, shape: Any = (2, 3), **fields: Any) -> None:
        self.__cuda_array_interface__ = {
            "shape": shape,
            "typestr": "<f4",
            "data": (address, True),
            "version": 3,
        } | fields


class Exporter:
    """An array with DLPack: a CPU array's own capsule, said to be on a device."""

    def __init__(self, array: Any, device: tuple[int, int] = (2, 0)) -> None:
        self._array, self._device = array, device
        self.streams: list[int] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device

    def __dlpack__(self, *, stream: int) -> Any:
        self.streams.append(stream)
        return self._array.__dlpack__()


@pytest.fixture
def stream(machine: Machine) -> Iterator[Stream]:
    stream = Stream()
    yield stream
    machine.memory.clear()
    stream.close()


@pytest.fixture
def address(machine: Machine, stream: Stream) -> int:
    """Where 24 bytes are on the device."""
    return machine.allocate(24)


def on_device(machine: Machine, array: Any) -> Any:
    """Let the fake device own the memory of an array, and give the array back."""
    pointer = array.data_ptr() if isinstance(array, torch.Tensor) else array.ctypes.data
    machine.memory[pointer], machine.where[pointer] = bytearray(1 << 10), 0
    return array


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    "strides", [pytest.param(None, id="none"), pytest.param((12, 4), id="contiguous")]
)
def test_interface(stream: Stream, address: int, version: int, strides: Any) -> None:
    value = Interface(address, version=version, strides=strides)
    found = adopt("x", value, stream, 0)
    assert (found.address, found.shape, found.dtype) == (address, (2, 3), np.float32)
    assert (found.ndim, found.nbytes, found.owner) == (2, 24, value)


@pytest.mark.parametrize(
    ("fields", "waits"),
    [
        pytest.param({"stream": 1}, True, id="default stream"),
        pytest.param({"stream": None}, False, id="no wait wanted"),
        pytest.param({}, False, id="not said"),
        pytest.param({"version": 2}, True, id="version 2 waits for all"),
    ],
)
def test_the_producers_work_comes_first(
    machine: Machine, stream: Stream, address: int, fields: Any, waits: bool
) -> None:
    written: list[str] = []
    machine.streams[1].put(lambda: written.append("by the producer"))
    adopt("x", Interface(address, **fields), stream, 0)
    stream.synchronise()
    assert bool(written) == waits
    machine.streams[1].run()
    assert written == ["by the producer"]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "int32", "int8", "uint8", "bool"])
def test_dlpack_of_another_library(machine: Machine, stream: Stream, dtype: str) -> None:
    tensor = on_device(machine, torch.ones(7, 3, 4, dtype=getattr(torch, dtype))[2:])
    value = Exporter(tensor)
    found = adopt("x", value, stream, 0)
    # Address, shape and dtype as PyTorch itself states them.
    assert (found.address, found.shape) == (tensor.data_ptr(), tuple(tensor.shape))
    assert found.dtype == tensor.numpy().dtype
    assert value.streams == [stream.handle]  # the producer orders its work before ours


def test_dlpack_memory_is_kept_and_given_back(machine: Machine, stream: Stream) -> None:
    array = on_device(machine, np.ones((2, 3), np.float32))
    before = sys.getrefcount(array)
    found = adopt("x", Exporter(array), stream, 0)
    kept = sys.getrefcount(array)
    del found
    # numpy's capsule holds the array until its destructor runs; the exporter is gone by then.
    assert kept > before == sys.getrefcount(array)


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((2, 3), id="plain"),
        pytest.param((1, 3), id="one row"),
        pytest.param((), id="scalar"),
    ],
)
def test_numpys_dlpack(machine: Machine, stream: Stream, shape: tuple[int, ...]) -> None:
    array = on_device(machine, np.zeros(shape, np.float32))
    found = adopt("x", Exporter(array), stream, 0)
    assert (found.address, found.shape) == (array.ctypes.data, shape)


class Packed:
    """A DLPack capsule laid out by hand: compact, so without strides, and with a byte offset."""

    def __init__(self, address: int, offset: int) -> None:
        self._shape = (ctypes.c_int64 * 2)(2, 3)
        # DLManagedTensor: data, device, ndim, dtype, shape, strides, byte_offset; context, deleter.
        fields = (address, 2, 0, 2, 2, 16, 1, ctypes.addressof(self._shape), 0, offset, 0, 0)
        self._tensor = ctypes.create_string_buffer(struct.pack("PiiiBBHPPQPP", *fields))

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, *, stream: int) -> Any:
        new = ctypes.pythonapi.PyCapsule_New
        new.restype = ctypes.py_object
        new.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return new(ctypes.addressof(self._tensor), b"dltensor", None)


def test_a_compact_capsule_with_an_offset(machine: Machine, stream: Stream) -> None:
    address = machine.allocate(64)
    value = Packed(address, 32)
    found = adopt("x", value, stream, 0)
    assert (found.address, found.shape, found.dtype) == (address + 32, (2, 3), np.float16)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(torch.ones(4, 6)[:, ::2], id="every second column"),
        pytest.param(torch.ones(6, 4).T, id="transposed"),
        pytest.param(torch.ones(1, 3).expand(2, 3), id="broadcast"),
    ],
)
def test_dlpack_that_is_not_contiguous(machine: Machine, stream: Stream, value: Any) -> None:
    with pytest.raises(ValueError, match=r"with strides .*give a C-contiguous one: \.contiguous"):
        adopt("x", Exporter(on_device(machine, value)), stream, 0)


@pytest.mark.parametrize(
    ("strides", "shape"),
    [((4, 8), (2, 3)), ((24, 8), (2, 3)), ((0, 4), (2, 3))],
    ids=["transposed", "every second column", "broadcast"],
)
def test_interface_that_is_not_contiguous(
    stream: Stream, address: int, strides: Any, shape: Any
) -> None:
    with pytest.raises(ValueError, match=r"give a C-contiguous one"):
        adopt("x", Interface(address, shape, strides=strides), stream, 0)


def test_the_stride_of_a_single_row_does_not_matter(stream: Stream, address: int) -> None:
    assert adopt("x", Interface(address, (1, 3), strides=(999, 4)), stream, 0).shape == (1, 3)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param([1.0], "x is a list; give a numpy array, or an array on a CUDA", id="list"),
        pytest.param(None, "x is a NoneType", id="none"),
        pytest.param(torch.ones(2), "x is a Tensor that is not on a CUDA device", id="on the CPU"),
        pytest.param(
            Exporter(torch.ones(2, dtype=torch.bfloat16)),
            "x is DLPack type 4 of 16 bits",
            id="bfloat16",
        ),
    ],
)
def test_what_cannot_be_taken(stream: Stream, value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        adopt("x", value, stream, 0)


def test_what_its_owner_does_not_share(stream: Stream) -> None:
    with pytest.raises(TypeError, match=r"x is a Exporter that cannot be shared \(.*gradient"):
        adopt("x", Exporter(torch.ones(2, requires_grad=True)), stream, 0)


def test_a_mask_is_refused(stream: Stream, address: int) -> None:
    with pytest.raises(ValueError, match="x is masked"):
        adopt("x", Interface(address, mask=Interface(address)), stream, 0)


def test_memory_of_the_host_is_refused_not_read(stream: Stream) -> None:
    block = ctypes.create_string_buffer(24)
    with pytest.raises(TypeError, match="whose memory is not on a device"):
        adopt("x", Interface(ctypes.addressof(block)), stream, 0)


def test_memory_of_another_device(machine: Machine, stream: Stream) -> None:
    machine.device = 1
    address = machine.allocate(24)
    machine.device = 0
    with pytest.raises(ValueError, match="on device 1, the engine is on device 0; copy it"):
        adopt("x", Interface(address), stream, 0)


def test_empty_arrays_have_no_memory(stream: Stream) -> None:
    found = adopt("x", Interface(0, (0, 3)), stream, 0)
    assert isinstance(found, DeviceArray)
    assert found.nbytes == 0
