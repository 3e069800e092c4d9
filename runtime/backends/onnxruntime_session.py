"""ONNX Runtime, on the CPU or through one of its GPU providers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from runtime.errors import EngineError, one_line

_FATAL = 4  # log nothing below: what goes wrong is raised, and said once
_CPU: tuple[str, dict[str, str]] = ("CPUExecutionProvider", {})
# float32 is float32 here as in the other back ends; TF32 would keep 10 bits of its 23. The provider
# of TensorRT has no such option (https://github.com/microsoft/onnxruntime/issues/26029).
_CUDA = ("CUDAExecutionProvider", {"use_tf32": "0"})
# By back end: the provider it is named for, then those that take what is left of the graph.
_PROVIDERS = {
    "onnxruntime": [_CPU],
    "onnxruntime-cuda": [_CUDA, _CPU],
    "onnxruntime-tensorrt": [("TensorrtExecutionProvider", {}), _CUDA, _CPU],
}


class OnnxRuntimeSession:
    """One inference session on the provider of its back end."""

    def __init__(
        self,
        model: Path,
        threads: int | None,
        streams: int,
        faithful: bool,
        name: str = "onnxruntime",
    ) -> None:
        """Load `model`; see `open_session`."""
        import onnxruntime

        self.name, self.version, self.callers = name, onnxruntime.__version__, streams
        providers = _PROVIDERS[name]
        wanted = providers[0][0]
        there = onnxruntime.get_available_providers()
        if wanted not in there:
            raise EngineError(
                f"ONNX Runtime {self.version} has {', '.join(there)}, expected {wanted}; run "
                "`pip uninstall onnxruntime` and `pip install onnxruntime-gpu`"
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL
        options.inter_op_num_threads = 1
        if streams > 1:  # the pool is shared; of itself it would have a thread for each core
            threads = threads or os.cpu_count() or 1
        if threads is not None:
            options.intra_op_num_threads = max(1, threads // streams)
        if faithful:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = onnxruntime.InferenceSession(str(model), options, providers=providers)
            # Without this, a provider that fails would quietly be replaced by the CPU.
            self._session.disable_fallback()
        except Exception as error:  # its exceptions share no base class but this
            raise EngineError(f"ONNX Runtime refuses {model} ({one_line(error)})") from error
        if wanted not in self._session.get_providers():
            raise EngineError(
                f"ONNX Runtime {self.version} runs {model} on "
                f"{', '.join(self._session.get_providers())}, expected {wanted}; install the CUDA, "
                "cuDNN and TensorRT 10 libraries that this onnxruntime-gpu was made for"
            )
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
