"""Calls into CUDA's runtime, the status of each checked, and what they tell of the device.

The library is `cuda.bindings.runtime` of NVIDIA's cuda-bindings, imported with the first call.
Names and meanings are those of https://docs.nvidia.com/cuda/cuda-runtime-api/.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from runtime.errors import EngineError, one_line

_MIB = 1 << 20
_REMEDIES = {
    "cudaErrorMemoryAllocation": "close other users of the device or infer smaller batches",
    "cudaErrorNoDevice": "run on a machine with an NVIDIA GPU that CUDA_VISIBLE_DEVICES shows",
    "cudaErrorInsufficientDriver": "install NVIDIA's driver, or cuda-bindings of its CUDA version",
    "cudaErrorNoKernelImageForDevice": "build the bundle again on this device",
}
_OTHERWISE = "start the process again; if it stays, build the bundle again on this device"


class CudaError(EngineError):
    """A call into CUDA that failed; `status` is CUDA's own name of the error."""

    def __init__(self, message: str, status: str) -> None:
        """Keep the line and CUDA's name, such as "cudaErrorMemoryAllocation"."""
        super().__init__(message)
        self.status = status


@dataclasses.dataclass(frozen=True)
class Device:
    """A GPU: CUDA's index and name, and its compute capability, e.g. "8.7"."""

    index: int
    name: str
    compute_capability: str


def cudart() -> Any:
    """The module `cuda.bindings.runtime`; `EngineError` where it cannot be imported."""
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise EngineError(
            f"cuda.bindings does not import here ({one_line(error)}); run `pip install "
            "cuda-bindings` of the driver's CUDA version: 'cuda-bindings<13' on JetPack 6"
        ) from error


def call(function: str, *arguments: Any) -> Any:
    """Call `cuda.bindings.runtime.FUNCTION`.

    Returns:
        What it returns behind its status: None, a value, or a tuple of several.

    Raises:
        CudaError: the status is not success.
        EngineError: cuda-bindings is not installed.
    """
    library = cudart()
    try:
        status, *results = getattr(library, function)(*arguments)
    except RuntimeError as error:  # the driver's library lacks the function, or cannot be loaded
        raise CudaError(f"{function} failed ({one_line(error)}); update the driver", "") from error
    if status != library.cudaError_t.cudaSuccess:
        raise _failure(library, function, arguments, status)
    return results[0] if len(results) == 1 else tuple(results) or None


def _failure(library: Any, function: str, arguments: tuple[Any, ...], status: Any) -> CudaError:
    # An error that is not taken is reported again by the next caller who asks for the last one.
    library.cudaGetLastError()
    name, text = status.name, library.cudaGetErrorString(status)[1].decode()
    wanted = ""
    if function == "cudaMalloc":
        answer, free, total = library.cudaMemGetInfo()
        if answer == library.cudaError_t.cudaSuccess:
            room = f"{free // _MIB} of {total // _MIB} are free"
            wanted = f": wanted {arguments[0] / _MIB:.1f} MiB, {room}"
    remedy = _REMEDIES.get(name, _OTHERWISE)
    return CudaError(f"{function} failed with {name} ({text}){wanted}; {remedy}", name)


def current_device() -> Device:
    """The device that CUDA uses in this thread.

    Raises:
        CudaError: no device, or no driver.
        EngineError: cuda-bindings is not installed.
    """
    index = call("cudaGetDevice")
    found = call("cudaGetDeviceProperties", index)
    name = found.name.split(b"\0")[0].decode(errors="replace")
    return Device(index, name, f"{found.major}.{found.minor}")


@contextmanager
def using_device(index: int) -> Iterator[None]:
    """Make a device current in this thread, and afterwards the one that was."""
    before = call("cudaGetDevice")
    if before == index:
        yield
        return
    call("cudaSetDevice", index)
    try:
        yield
    finally:
        call("cudaSetDevice", before)
