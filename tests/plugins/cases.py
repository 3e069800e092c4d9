"""Problems for the kernels: random inputs, the launch structure, and the error to expect."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def normal(seed: int, shape: tuple[int, ...], dtype: str) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def steps(seed: int, shape: tuple[int, ...]) -> Array:
    """int8 over its whole range."""
    return np.random.default_rng(seed).integers(-128, 128, shape, np.int8)


def tolerance(dtype: str, value: Array, keys: int) -> float:
    """As `error_bound`, for these values."""
    return error_bound(dtype, float(np.abs(value.astype(np.float64)).max()), keys)


def error_bound(dtype: str, largest: float, keys: int) -> float:
    """Largest absolute error of attention's output, if scores are of order ten.

    `largest` is that of the values' magnitudes.

    float16: weights are rounded to 11 bits, as is the output: 2**-11 of the largest value, each.
    Weights below 2**-14 are subnormal, and each errs by up to 2**-25 beside a sum of at least 1.
    float32: a dot product of 128 terms of size one errs by up to 128 * 2**-24 = 8e-6, a sum over
    the keys by less, since the weights of a row sum to one; scores make it relative.
    """
    if dtype == "float32":
        return 1.6e-5 * max(largest, 1.0)
    return largest * (2**-10 + keys * 2.0**-25) + 1e-6
