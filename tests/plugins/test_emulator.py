"""The emulation's own arithmetic; its fragment layouts are checked by every kernel test."""

from __future__ import annotations

import ctypes

import numpy as np

from tests.plugins.launch import Kernels


def test_half_precision_is_numpys(emulated: Kernels) -> None:
    to_float, to_half = emulated.library.emulated_float, emulated.library.emulated_half
    to_float.argtypes, to_float.restype = [ctypes.c_uint16], ctypes.c_float
    to_half.argtypes, to_half.restype = [ctypes.c_float], ctypes.c_uint16

    bits = np.arange(0, 65536, 7, dtype=np.uint16)
    halves = bits.view(np.float16)
    widened = np.array([to_float(b) for b in bits.tolist()], np.float32)
    np.testing.assert_array_equal(widened, halves.astype(np.float32))

    # Between neighbours: a little below the middle, the tie, a little above.
    finite = np.arange(0, 0x7BFF, 13, dtype=np.uint16).view(np.float16).astype(np.float64)
    above = (np.arange(0, 0x7BFF, 13, dtype=np.uint16) + 1).view(np.float16).astype(np.float64)
    middle = (finite + above) / 2
    numbers = np.concatenate([finite, middle, middle * (1 - 1e-6), middle * (1 + 1e-6)])
    numbers = np.concatenate([numbers, -numbers, [65519, 65520, np.inf, 1e-9]]).astype(np.float32)
    rounded = np.array([to_half(x) for x in numbers.tolist()], np.uint16).view(np.float16)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(rounded, numbers.astype(np.float16))
