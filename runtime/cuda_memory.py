"""Memory on the device and pinned memory of the host, allocated once and grown when need be."""

from __future__ import annotations

import ctypes
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from runtime.cuda_device import call


class _Buffer:
    """Memory that grows and never shrinks; its content is lost when it grows."""

    _allocate: ClassVar[str]
    _free: ClassVar[str]

    def __init__(self) -> None:
        """Hold nothing yet; `close` frees what `reserve` allocates."""
        self.address = 0
        self._capacity = 0

    def reserve(self, nbytes: int) -> int:
        """Provide at least `nbytes`; the address, which growth changes.

        Nothing may be pending on the memory.

        Raises:
            CudaError: there is not so much; the buffer then holds nothing.
        """
        if nbytes > self._capacity:
            self.close()
            self.address = int(call(self._allocate, nbytes))
            self._capacity = nbytes
        return self.address

    def close(self) -> None:
        """Free the memory; closing twice is harmless."""
        address, self.address, self._capacity = self.address, 0, 0
        if address:
            call(self._free, address)


class DeviceBuffer(_Buffer):
    """Memory of the device, aligned to 256 bytes."""

    _allocate = "cudaMalloc"
    _free = "cudaFree"


class PinnedBuffer(_Buffer):
    """Page-locked memory of the host, which the device copies from and to on its own."""

    _allocate = "cudaMallocHost"
    _free = "cudaFreeHost"

    def view(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """The beginning of the memory as an array, valid until the buffer grows or is closed."""
        nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if not nbytes:
            return np.empty(shape, dtype)
        memory = (ctypes.c_uint8 * nbytes).from_address(self.reserve(nbytes))
        return np.ndarray(shape, dtype, memoryview(memory))
