"""Arrays between guards, to notice what a kernel reads or writes outside of them."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ALIGNED = 16  # bytes, as far as kernels rely on
_FORBIDDEN = 0  # PROT_NONE


class Guarded:
    """A copy of `array`, or its unwritten like, amid bytes of 0xff and before a forbidden page.

    As float16 or float32 those bytes are NaN: a kernel that uses them shows it in its output. Even
    to read the page is a segmentation fault, at the line of the test that pytest then prints.
    """

    def __init__(self, array: NDArray[Any], written: bool = True) -> None:
        room = -(-(array.nbytes + 256) // mmap.PAGESIZE) * mmap.PAGESIZE
        pages = np.frombuffer(mmap.mmap(-1, room + mmap.PAGESIZE), np.uint8)
        libc = ctypes.CDLL(None, use_errno=True)
        page = ctypes.c_void_p(pages.ctypes.data + room)
        assert libc.mprotect(page, ctypes.c_size_t(mmap.PAGESIZE), _FORBIDDEN) == 0
        raw = pages[:room]
        raw[:] = 0xFF
        start = (room - array.nbytes) // _ALIGNED * _ALIGNED
        self._before, self._after = raw[:start], raw[start + array.nbytes :]
        self.array = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
        if written:
            self.array[...] = array

    @property
    def address(self) -> int:
        return int(self.array.ctypes.data)

    def check(self) -> None:
        assert (self._before == 0xFF).all(), "written before the start"
        assert (self._after == 0xFF).all(), "written past the end"
