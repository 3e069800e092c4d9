"""Back ends behind one small protocol; each library is imported when a session opens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from runtime.errors import EngineError, one_line

_BACKENDS = ("onnxruntime", "openvino", "openvino-bf16")


class Session(Protocol):
    """A loaded model. It owns what `close` frees; outputs belong to the caller."""

    @property
    def name(self) -> str:
        """The back end, e.g. "openvino"."""

    @property
    def version(self) -> str:
        """The back end's version."""

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Arrays by input name to arrays by output name; `EngineError` when refused."""

    def close(self) -> None:
        """Free the model; the session cannot run afterwards."""


def open_session(
    backend: str, model: str | Path, *, threads: int | None = None, faithful: bool = False
) -> Session:
    """Load an ONNX file into a back end, on the CPU.

    Args:
        backend: "openvino"; "openvino-bf16", which computes float32 parts in bfloat16 (8 bits of
            significand, as precise as an int8 product) where the processor does, and is
            "openvino" where it does not; or "onnxruntime".
        model: path of the ONNX file.
        threads: CPU threads of one inference; None leaves the choice to the back end.
        faithful: run the graph as written (ONNX Runtime only): graph optimisations are off.

    Raises:
        EngineError: the back end is not installed or refuses the model.
        ValueError, TypeError: `threads`, or `faithful` with OpenVINO, which always rewrites.
    """
    if threads is not None:
        if type(threads) is not int:
            raise TypeError(f"threads is {threads!r}; give an integer or None")
        if threads < 1:
            raise ValueError(f"threads is {threads}; give at least 1, or None")
    if backend not in _BACKENDS:
        raise EngineError(
            f"found back end {backend!r}, this runtime has {', '.join(_BACKENDS)}; "
            "rebuild with --target cpu"
        )
    try:
        if backend != "onnxruntime":
            if faithful:
                raise ValueError(f"{backend} cannot run faithfully; use onnxruntime for that")
            from runtime.backends.openvino_session import OpenVinoSession

            return OpenVinoSession(Path(model), threads, bfloat16=backend == "openvino-bf16")
        from runtime.backends.onnxruntime_session import OnnxRuntimeSession

        return OnnxRuntimeSession(Path(model), threads, faithful)
    except ImportError as error:
        package = backend.removesuffix("-bf16")
        raise EngineError(
            f"{package} does not import here ({one_line(error)}); run `pip install vitrine[cpu]`"
        ) from error
