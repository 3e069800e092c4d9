"""Back ends behind one small protocol; each library is imported when a session opens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from runtime.backends.untold import silence_onnxruntime
from runtime.device_arrays import DeviceArray
from runtime.errors import EngineError, one_line
from runtime.manifest import EngineInfo

silence_onnxruntime()  # here, as every package that imports it imports this one first

_PACKAGES = {  # by back end: what to install where one does not import
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "openvino-bf16": "openvino",
    "onnxruntime-cuda": "onnxruntime-gpu",
    "onnxruntime-tensorrt": "onnxruntime-gpu",
    "tensorrt": "tensorrt-cu12",
}


class Session(Protocol):
    """A loaded model. It owns what `close` frees; outputs belong to the caller."""

    @property
    def name(self) -> str:
        """The back end, e.g. "openvino"."""

    @property
    def version(self) -> str:
        """The back end's version."""

    @property
    def callers(self) -> int:
        """How many threads may be in `run` at once."""

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Arrays by input name to arrays by output name; `EngineError` when refused."""

    def close(self) -> None:
        """Free the model; the session cannot run afterwards."""


@runtime_checkable
class DeviceSession(Session, Protocol):
    """A session that also runs on arrays in its device's memory."""

    @property
    def largest_batch(self) -> int:
        """Images at most that it was built to take at once."""

    def adopt(self, name: str, array: Any) -> DeviceArray:
        """See an array of another library, on a CUDA device, as the input `name` of the next run.

        It has DLPack or `__cuda_array_interface__`; see `runtime.device_arrays.adopt`.
        """


def open_session(
    backend: str,
    model: str | Path,
    *,
    threads: int | None = None,
    streams: int = 1,
    faithful: bool = False,
    plugins: Sequence[Path] = (),
    built_for: EngineInfo | None = None,
) -> Session:
    """Load a model into a back end.

    Args:
        backend: on the CPU, "openvino"; "openvino-bf16", which computes float32 parts in bfloat16
            (8 bits of significand, as precise as an int8 product) where the processor does, and
            is "openvino" where it does not; or "onnxruntime". On a CUDA device, "tensorrt", or
            ONNX Runtime's providers "onnxruntime-cuda" and "onnxruntime-tensorrt".
        model: path of the plan for "tensorrt", of the ONNX file otherwise.
        threads: CPU threads of all inferences; None leaves the choice to the back end.
        streams: inferences that may run side by side on a CPU, each on its share of the threads.
        faithful: run the graph as written (ONNX Runtime only): graph optimisations are off.
        plugins: libraries that the plan needs ("tensorrt" only).
        built_for: what the plan must have been built for ("tensorrt" only); None trusts it.

    Raises:
        EngineError: the back end is not installed, has no device, or refuses the model.
        ValueError, TypeError: `threads`, or `faithful` with a back end that always rewrites.
    """
    for name, number in (("threads", threads), ("streams", streams)):
        if number is not None and type(number) is not int:
            raise TypeError(f"{name} is {number!r}; give an integer")
        if number is not None and number < 1:
            raise ValueError(f"{name} is {number}; give at least 1")
    if backend not in _PACKAGES:
        raise EngineError(
            f"found back end {backend!r}, this runtime has {', '.join(_PACKAGES)}; "
            "rebuild with --target cpu"
        )
    if faithful and not backend.startswith("onnxruntime"):
        raise ValueError(f"{backend} cannot run faithfully; use onnxruntime for that")
    try:
        if backend == "tensorrt":
            from runtime.backends.tensorrt_session import TensorRtSession

            return TensorRtSession(Path(model), tuple(plugins), built_for)
        if backend.startswith("openvino"):
            from runtime.backends.openvino_session import OpenVinoSession

            bfloat16 = backend == "openvino-bf16"
            return OpenVinoSession(Path(model), threads, streams, bfloat16=bfloat16)
        from runtime.backends.onnxruntime_session import OnnxRuntimeSession

        return OnnxRuntimeSession(Path(model), threads, streams, faithful, backend)
    except ImportError as error:
        package = backend.partition("-")[0]
        raise EngineError(
            f"{package} does not import here ({one_line(error)}); "
            f"run `pip install {_PACKAGES[backend]}`"
        ) from error
