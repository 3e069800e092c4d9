"""Checking arrays against the tensors that a model declares, before a back end sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.device_arrays import DeviceArray
from runtime.manifest import TensorInfo


def check_inputs(
    infos: Sequence[TensorInfo], arrays: Mapping[str, npt.NDArray[Any] | DeviceArray]
) -> None:
    """Check names, dtypes, number of axes and lengths; equal axis names need equal lengths.

    Raises:
        TypeError: not an array, or of another dtype.
        ValueError: a missing or unknown input, another shape, or an axis without length.
    """
    if len(arrays) != len(infos) or any(info.name not in arrays for info in infos):
        names = [info.name for info in infos]
        raise ValueError(f"inputs are {sorted(arrays)}; the model takes {sorted(names)}")
    lengths: dict[str, int] = {}
    for info in infos:
        array = arrays[info.name]
        if not isinstance(array, (np.ndarray, DeviceArray)):
            raise TypeError(f"{info.name} is a {type(array).__name__}; give a numpy array")
        if array.dtype.name != info.dtype or not array.dtype.isnative:
            raise TypeError(f"{info.name} is {array.dtype}; use astype({info.dtype!r})")
        if array.ndim != len(info.shape) or not all(
            n > 0 and n == (lengths.setdefault(axis, n) if isinstance(axis, str) else axis)
            for n, axis in zip(array.shape, info.shape, strict=True)
        ):
            wanted = ", ".join(f"{a}={lengths[a]}" if a in lengths else str(a) for a in info.shape)
            raise ValueError(f"{info.name} has shape {array.shape}; the model takes ({wanted})")


def check_finite(name: str, array: npt.NDArray[np.float32]) -> None:
    """Refuse NaN and infinity with a `ValueError` that says how many there are, and where.

    One pass over memory when all is well: a sum of squares is finite only if every term is.
    It may also overflow on large finite values, so anything else is looked at closely.
    """
    flat = array.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.dot(flat, flat)
    if np.isfinite(squares):
        return
    bad = ~np.isfinite(flat)
    if bad.any():
        first = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), array.shape))
        raise ValueError(
            f"{name} holds {int(bad.sum())} values that are not finite, the first "
            f"({flat[bad.argmax()]}) at {first}; give finite values"
        )
