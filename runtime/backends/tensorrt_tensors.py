"""What a TensorRT engine takes and gives, and which of its optimisation profiles admits shapes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from runtime.device_arrays import DeviceArray
from runtime.errors import EngineError

if TYPE_CHECKING:
    import tensorrt

Shape = tuple[int, ...]
# By name, since the numbers of TensorRT's enumerations move between its versions.
_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT64": "int64",
    "INT32": "int32",
    "INT8": "int8",
    "UINT8": "uint8",
    "BOOL": "bool",
}


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or output.

    Attributes:
        name: in the ONNX graph, and in the engine.
        dtype: as numpy's.
        profiles: by optimisation profile the least shape, the one it is tuned for, and the
            greatest; of inputs only.
    """

    name: str
    dtype: np.dtype[Any]
    profiles: tuple[tuple[Shape, Shape, Shape], ...] = ()

    def admits(self, shape: Shape, profile: int) -> bool:
        """Whether a profile of this input holds `shape`."""
        low, _, high = self.profiles[profile]
        return len(shape) == len(low) and all(
            a <= n <= b for a, n, b in zip(low, shape, high, strict=True)
        )

    def distance(self, shape: Shape, profile: int) -> float:
        """How far `shape` is from what a profile is tuned for: |log| of the ratios of lengths."""
        tuned = self.profiles[profile][1]
        return sum(abs(math.log(n / o)) for n, o in zip(shape, tuned, strict=True) if n != o)


def lengths(dims: tensorrt.Dims) -> Shape:
    """TensorRT's dimensions as a tuple; -1 is a length that is not known."""
    return tuple(dims[axis] for axis in range(len(dims)))


def read_tensors(engine: tensorrt.ICudaEngine) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The inputs and outputs of an engine, in its order.

    Raises:
        EngineError: a dtype that numpy lacks, or a tensor that is read on the host.
    """
    import tensorrt

    inputs, outputs = [], []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        kind = engine.get_tensor_dtype(name).name
        if (
            kind not in _DTYPES
            or engine.get_tensor_location(name) != tensorrt.TensorLocation.DEVICE
        ):
            raise EngineError(
                f"tensor {name!r} is {kind} at {engine.get_tensor_location(name).name}, expected "
                f"one of {', '.join(_DTYPES)} at DEVICE; build the bundle again"
            )
        dtype = np.dtype(_DTYPES[kind])
        if engine.get_tensor_mode(name) != tensorrt.TensorIOMode.INPUT:
            outputs.append(Tensor(name, dtype))
            continue
        bounds = [_bounds(engine, name, p) for p in range(engine.num_optimization_profiles)]
        inputs.append(Tensor(name, dtype, tuple(bounds)))
    return tuple(inputs), tuple(outputs)


def _bounds(engine: tensorrt.ICudaEngine, name: str, profile: int) -> tuple[Shape, Shape, Shape]:
    """The shapes of an input in a profile; a fixed shape has none."""
    fixed = lengths(engine.get_tensor_shape(name))
    if -1 not in fixed:
        return fixed, fixed, fixed
    low, tuned, high = engine.get_tensor_profile_shape(name, profile)
    return lengths(low), lengths(tuned), lengths(high)


def largest_batch(tensors: Sequence[Tensor]) -> int:
    """The longest first axis that some profile admits for all inputs."""
    counts = range(len(tensors[0].profiles))
    return max(min(tensor.profiles[p][2][0] for tensor in tensors) for p in counts)


def choose_profile(
    tensors: Sequence[Tensor], arrays: Mapping[str, npt.NDArray[Any] | DeviceArray]
) -> int:
    """The optimisation profile that is tuned most nearly for the shapes, of those that admit them.

    Raises:
        EngineError: other names or dtypes than the engine's, or no profile does; the message
            lists them.
    """
    names = [tensor.name for tensor in tensors]
    if sorted(arrays) != sorted(names):
        raise EngineError(f"inputs are {sorted(arrays)}, the engine has {sorted(names)}")
    for tensor in tensors:
        if arrays[tensor.name].dtype != tensor.dtype:
            raise EngineError(
                f"{tensor.name} is {arrays[tensor.name].dtype}, the engine takes {tensor.dtype}"
            )
    count = len(tensors[0].profiles)
    admitting = [
        profile
        for profile in range(count)
        if all(tensor.admits(arrays[tensor.name].shape, profile) for tensor in tensors)
    ]
    if admitting:
        return min(
            admitting, key=lambda p: sum(t.distance(arrays[t.name].shape, p) for t in tensors)
        )
    shapes = ", ".join(f"{name} {arrays[name].shape}" for name in names)
    known = "; or ".join(
        ", ".join(f"{t.name} {t.profiles[p][0]}..{t.profiles[p][2]}" for t in tensors)
        for p in range(count)
    )
    raise EngineError(
        f"found {shapes}, the engine's profiles admit {known}: infer within one of these, or "
        "build the bundle with larger bounds"
    )
