"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from runtime.errors import EngineError, one_line

_FATAL = 4  # log nothing below: what goes wrong is raised, and said once


class OnnxRuntimeSession:
    """One inference session on the CPU execution provider."""

    name = "onnxruntime"

    def __init__(self, model: Path, threads: int | None, faithful: bool) -> None:
        """Load `model`; see `open_session`."""
        import onnxruntime

        self.version = onnxruntime.__version__
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL
        options.inter_op_num_threads = 1
        if threads is not None:
            options.intra_op_num_threads = threads
        if faithful:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = onnxruntime.InferenceSession(
                str(model), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions share no base class but this
            raise EngineError(f"ONNX Runtime refuses {model} ({one_line(error)})") from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """See `Session.run`."""
        try:
            results = self._session.run(self._outputs, dict(inputs))
        except Exception as error:  # as above
            raise EngineError(f"ONNX Runtime failed to run ({one_line(error)})") from error
        return dict(zip(self._outputs, results, strict=True))

    def close(self) -> None:
        """See `Session.close`."""
        del self._session
