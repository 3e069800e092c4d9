"""Arrays that somebody else keeps in a CUDA device's memory, taken without copying them.

Two protocols are understood, and neither needs the other library to be imported here:
DLPack (https://dmlc.github.io/dlpack/latest/python_spec.html: PyTorch, CuPy, JAX), preferred as
the producer then orders its pending work before ours; and `__cuda_array_interface__`, versions 2
and 3 (https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html: pycuda, Numba).
"""

from __future__ import annotations

import ctypes
import dataclasses
from typing import Any

import numpy as np

from runtime.cuda_device import call, cudart
from runtime.cuda_stream import Stream
from runtime.errors import one_line

_CUDA, _CUDA_MANAGED = 2, 13  # DLDeviceType
_KINDS = {0: "i", 1: "u", 2: "f", 6: "b"}  # numpy's by DLDataTypeCode


@dataclasses.dataclass(frozen=True, eq=False)
class DeviceArray:
    """C-contiguous memory on a CUDA device; `owner` keeps it alive."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    owner: Any

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def adopt(name: str, value: Any, stream: Stream, device: int) -> DeviceArray:
    """See `value` as memory of a device; `stream` waits until its producer has written it.

    Args:
        name: of the input, for messages.
        value: has `__dlpack__` and `__dlpack_device__`, or `__cuda_array_interface__`.
        stream: on which it will be read.
        device: CUDA's index of the device it must be on.

    Raises:
        TypeError: nothing of the kind, on no CUDA device, or of a dtype that numpy lacks.
        ValueError: not C-contiguous, masked, or on another device.
        CudaError: the producer's stream is not one.
    """
    kind = f"{name} is a {type(value).__name__}"
    if hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__"):
        if value.__dlpack_device__()[0] not in (_CUDA, _CUDA_MANAGED):
            raise TypeError(f"{kind} that is not on a CUDA device; give a numpy array")
        try:
            capsule = value.__dlpack__(stream=stream.handle)
        except (BufferError, RuntimeError) as error:  # e.g. a PyTorch tensor with a gradient
            raise TypeError(f"{kind} that cannot be shared ({one_line(error)})") from error
        found, strides = _from_dlpack(name, capsule)
    elif hasattr(value, "__cuda_array_interface__"):
        found, strides = _from_interface(name, value, stream)
    else:
        raise TypeError(f"{kind}; give a numpy array, or an array on a CUDA device")
    _check_contiguous(found, strides, kind)
    _check_device(found, device, kind)
    return found


def _from_interface(
    name: str, value: Any, stream: Stream
) -> tuple[DeviceArray, tuple[int, ...] | None]:
    """The array and its strides in bytes, None when contiguous."""
    fields = value.__cuda_array_interface__
    if fields.get("mask") is not None:
        raise ValueError(f"{name} is masked; give an array without mask")
    if fields["version"] < 3:
        # Version 2 does not say where the producer works: only waiting for all is safe.
        call("cudaDeviceSynchronize")
    elif fields.get("stream") is not None:
        stream.wait_for(fields["stream"])
    array = DeviceArray(
        int(fields["data"][0]), tuple(fields["shape"]), np.dtype(fields["typestr"]), value
    )
    return array, fields.get("strides")


class _DLTensor(ctypes.Structure):
    """DLPack's `DLTensor`, with its DLDevice and DLDataType spread out."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def _from_dlpack(name: str, capsule: Any) -> tuple[DeviceArray, tuple[int, ...] | None]:
    """The array in a capsule and its strides in bytes, None when contiguous.

    The capsule is read, not consumed: it stays the owner, and its destructor gives the memory
    back. A DLManagedTensor begins with its DLTensor.
    """
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    tensor = _DLTensor.from_address(pointer(capsule, b"dltensor"))
    if tensor.code not in _KINDS or tensor.lanes != 1 or tensor.bits % 8:
        raise TypeError(
            f"{name} is DLPack type {tensor.code} of {tensor.bits} bits; give float16, float32, an "
            "integer or bool"
        )
    dtype = np.dtype(f"{_KINDS[tensor.code]}{tensor.bits // 8}")
    axes = range(tensor.ndim)
    array = DeviceArray(
        (tensor.data or 0) + tensor.byte_offset,
        tuple(tensor.shape[axis] for axis in axes),
        dtype,
        capsule,
    )
    strides = tuple(tensor.strides[a] * dtype.itemsize for a in axes) if tensor.strides else None
    return array, strides


def _check_contiguous(array: DeviceArray, strides: tuple[int, ...] | None, kind: str) -> None:
    if strides is None or 0 in array.shape:
        return
    step = array.dtype.itemsize
    for length, stride in zip(reversed(array.shape), reversed(strides), strict=True):
        if length != 1 and stride != step:  # the stride of a single element does not matter
            raise ValueError(
                f"{kind} of shape {array.shape} with strides {tuple(strides)} in bytes; "
                "give a C-contiguous one: .contiguous() in PyTorch, ascontiguousarray in CuPy"
            )
        step *= length


def _check_device(array: DeviceArray, device: int, kind: str) -> None:
    if not array.address:
        return  # an empty array has no memory
    found = call("cudaPointerGetAttributes", array.address)
    kinds = cudart().cudaMemoryType
    if found.type not in (kinds.cudaMemoryTypeDevice, kinds.cudaMemoryTypeManaged):
        raise TypeError(f"{kind} whose memory is not on a device; give a numpy array")
    if found.type == kinds.cudaMemoryTypeDevice and found.device != device:
        raise ValueError(
            f"{kind} on device {found.device}, the engine is on device {device}; copy it "
            "there, or load the engine on its device"
        )
