"""What a model takes one of, as arrays that a file can hold: frames, clips, texts, tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]
_IMAGE, _TEXT, _TENSOR = "image", "text", "input."


def is_item_name(name: str) -> bool:
    """Whether it is one of those that `to_arrays` gives."""
    return name in (_IMAGE, _TEXT) or name.startswith(_TENSOR)


def to_arrays(item: Any) -> Arrays:
    """An item as arrays by name.

    Args:
        item: a frame, uint8 (H, W, 3); a clip, uint8 (T, H, W, 3); a text; or a model's inputs by
            name, without the batch axis.
    """
    if isinstance(item, str):
        return {_TEXT: np.frombuffer(item.encode(), np.uint8)}
    if isinstance(item, Mapping):
        return {_TENSOR + name: array for name, array in item.items()}
    return {_IMAGE: item}


def from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> Any:
    """The inverse of `to_arrays`, for arrays of unknown origin.

    Raises:
        ValueError: they are no item.
    """
    if all(name.startswith(_TENSOR) for name in arrays):
        return {name.removeprefix(_TENSOR): _finite(name, array) for name, array in arrays.items()}
    if len(arrays) > 1:
        raise ValueError(f"an item of {', '.join(sorted(arrays))[:80]}")
    ((name, array),) = arrays.items()
    if array.dtype != np.uint8:
        raise ValueError(f"{name} is {array.dtype} {array.shape}, expected uint8")
    if name == _TEXT and array.ndim == 1:
        return array.tobytes().decode()  # a UnicodeDecodeError is a ValueError
    if name == _IMAGE and array.ndim in (3, 4) and array.shape[-1] == 3 and array.size:
        return array
    raise ValueError(f"{name} is {array.dtype} {array.shape}")


def _finite(name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if not np.isfinite(array).all():  # of uint8 and int64, too, which always are
        raise ValueError(f"{name[:40]!r} of {array.dtype} is not finite")
    return array
