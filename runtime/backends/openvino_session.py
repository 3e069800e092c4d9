"""OpenVINO on the CPU."""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.backends.untold import import_openvino
from runtime.errors import EngineError, one_line

_first = threading.Lock()


def openvino_core() -> Any:
    """The process's only one, which is never destroyed.

    Where a processor has large register files, each `Core` gives the thread that makes it another
    stack for signals, and takes that away when it is destroyed. If another was made meanwhile, the
    thread is left with a stack that is no more, and the next signal that Python handles ends the
    process (OpenVINO 2026.4.1).
    """
    with _first:
        return _core()


@functools.cache
def _core() -> Any:
    openvino = import_openvino()
    # It makes its table of dtypes at the first inference, letting go of Python's lock in the midst
    # of it: where a second thread comes then, both wait for ever (OpenVINO 2026.4.1).
    openvino.Type.f32.to_dtype()
    return openvino.Core()


class OpenVinoSession:
    """One compiled model with an inference request for each stream."""

    def __init__(
        self, model: Path, threads: int | None, streams: int, *, bfloat16: bool = False
    ) -> None:
        """Compile `model`; see `open_session`."""
        self.version = import_openvino().__version__.partition("-")[0]
        # With one more caller than streams, the next inference is there when a stream is done.
        self.callers = streams if streams == 1 else streams + 1
        config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if streams > 1:  # the hint would choose one
            # Pinned, a stream waits for whatever else runs on its processor (a decoder, for one)
            # while another processor is free.
            config = {"NUM_STREAMS": streams, "ENABLE_CPU_PINNING": False}
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = threads
        try:
            core = openvino_core()
            # The default differs between processors, so it is not left to OpenVINO.
            bfloat16 = bfloat16 and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            config["INFERENCE_PRECISION_HINT"] = "bf16" if bfloat16 else "f32"
            self.name = "openvino-bf16" if bfloat16 else "openvino"
            graph = core.read_model(model)
            self._inputs = {port.get_any_name() for port in graph.inputs}
            self._outputs = [port.get_any_name() for port in graph.outputs]
            compiled = core.compile_model(graph, "CPU", config)
            self._requests: queue.LifoQueue[Any] = queue.LifoQueue()
            for _ in range(self.callers):
                self._requests.put(compiled.create_infer_request())
        except Exception as error:  # its binding raises RuntimeError and others alike
            raise EngineError(f"OpenVINO refuses {model} ({one_line(error)})") from error

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """See `Session.run`."""
        # A request would silently take an input that is not given from the previous call.
        if inputs.keys() != self._inputs:
            raise EngineError(f"inputs are {sorted(inputs)}, the model has {sorted(self._inputs)}")
        request = self._requests.get()
        try:
            # Sharing inputs spares a copy; outputs are copied, since the request reuses them.
            results = request.infer(dict(inputs), share_inputs=True, share_outputs=False)
        except Exception as error:  # as above
            raise EngineError(f"OpenVINO failed to run ({one_line(error)})") from error
        finally:
            self._requests.put(request)
        return {name: np.asarray(results[i]) for i, name in enumerate(self._outputs)}

    def close(self) -> None:
        """See `Session.close`."""
        del self._requests
