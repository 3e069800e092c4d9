"""The kernels' C interface in ctypes, for the host's emulation and for a GPU's library alike."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, byref, c_float, c_int, c_int32, c_int64, c_void_p

FLOAT, HALF, INT8 = 0, 1, 2


class FusedAttention(Structure):
    """`vitrine::FusedAttention` of engines/plugins/attention.h."""

    _fields_ = [
        *[(name, c_void_p) for name in ("query", "key", "value", "bias", "output")],
        ("bias_stride", c_int64 * 4),
        *[
            (name, c_int32)
            for name in ("batch", "heads", "queries", "keys", "size", "value_size")
        ],
        ("scale", c_float),
        ("type", c_int32),
    ]  # fmt: skip


class WindowAttention(Structure):
    """`vitrine::WindowAttention` of engines/plugins/attention.h."""

    _fields_ = [
        *[(name, c_void_p) for name in ("qkv", "bias", "output")],
        *[
            (name, c_int32)
            for name in ("batch", "height", "width", "heads", "size", "window", "shift")
        ],
        *[(name, c_float) for name in ("scale", "qkv_scale", "output_scale")],
        ("type", c_int32),
        ("bias_type", c_int32),
    ]  # fmt: skip


class Kernels:
    """The launch functions of a library; each returns a cudaError_t."""

    def __init__(self, path: str) -> None:
        self.library = ctypes.CDLL(path)
        for name, problem in (("fused", FusedAttention), ("window", WindowAttention)):
            function = getattr(self.library, f"vitrine_{name}_attention")
            function.argtypes, function.restype = [POINTER(problem), c_void_p], c_int

    def fused(self, problem: FusedAttention, stream: int = 0) -> int:
        return int(self.library.vitrine_fused_attention(byref(problem), stream))

    def window(self, problem: WindowAttention, stream: int = 0) -> int:
        return int(self.library.vitrine_window_attention(byref(problem), stream))


def bias_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Elements between neighbours of a contiguous rank-4 bias along each axis; 0 where it is 1."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(0 if size == 1 else step)
        step *= size
    return tuple(reversed(strides))
