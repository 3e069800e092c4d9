"""TensorRT's errors with their codes, as it reports them to an `IErrorRecorder`.

A call of TensorRT that fails returns false or nothing; why is told here. What an object reports
goes to its recorder instead of to the logger (NvInferRuntime.h, `setErrorRecorder`), and what it
makes inherits the recorder: a builder's network, a runtime's engine and that engine's contexts.
So each session has errors of its own, which the logger, one for the process, cannot give.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsInt

if TYPE_CHECKING:
    import tensorrt

_KEPT = 16  # errors; the oldest goes first, as a service may meet harmless ones for months


class Reported(NamedTuple):
    """An error.

    Attributes:
        code: name of its `ErrorCodeTRT`, e.g. "FAILED_ALLOCATION"; empty where it was only logged.
        text: on one line.
    """

    code: str
    text: str

    @property
    def is_memory(self) -> bool:
        """Whether memory of the host or the device ran out.

        The code alone does not tell: TensorRT's own allocators report "OutOfMemory" as
        INTERNAL_ERROR, and what CUDA refuses them, "Cuda Runtime (out of memory)", as
        UNSPECIFIED_ERROR (https://github.com/NVIDIA/TensorRT/issues/2198).
        """
        squeezed = "".join(self.text.lower().split())
        return self.code == "FAILED_ALLOCATION" or "outofmemory" in squeezed


class ErrorRecord:
    """The last errors of the objects that `recorder` was given to."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        # Within its own lock a thread may collect garbage, and a destructor may report as well.
        self._lock = threading.RLock()
        self._kept: deque[tuple[Any, str]] = deque(maxlen=_KEPT)
        self._overflowed = False

    def take(self) -> list[Reported]:
        """The errors since the last call, the oldest first."""
        with self._lock:
            found = [Reported(code.name, " ".join(text.split())) for code, text in self._kept]
            self._clear()
        return found

    def recorder(self) -> tensorrt.IErrorRecorder:
        """What to set as `error_recorder`; it must outlive the objects that have it.

        NVIDIA's bindings let the object it was set on keep it alive; engines and contexts keep
        their runtime alive, and so this.
        """
        import tensorrt

        record = self

        class Recorder(tensorrt.IErrorRecorder):  # type: ignore[misc, unused-ignore]
            def __init__(self) -> None:
                tensorrt.IErrorRecorder.__init__(self)  # by name, as pybind11 asks of a subclass

            def report_error(self, arg0: tensorrt.ErrorCodeTRT, arg1: str) -> bool:
                with record._lock:
                    record._overflowed = record._overflowed or len(record._kept) == _KEPT
                    record._kept.append((arg0, arg1))
                return True  # fatal, as every error is to NVIDIA's own tools

            def num_errors(self) -> int:
                return len(record._kept)

            # What NVIDIA's bindings, 10.3 as 11.4, look for when TensorRT asks for the number.
            get_num_errors = num_errors

            def get_error_code(self, arg0: SupportsInt) -> tensorrt.ErrorCodeTRT:
                found: tensorrt.ErrorCodeTRT = record._entry(
                    int(arg0), (tensorrt.ErrorCodeTRT.UNSPECIFIED_ERROR, "")
                )[0]
                return found

            def get_error_desc(self, arg0: SupportsInt) -> str:
                return record._entry(int(arg0), (None, ""))[1]

            def has_overflowed(self) -> bool:
                return record._overflowed

            def clear(self) -> None:
                record._clear()

        return Recorder()

    def _entry(self, index: int, otherwise: tuple[Any, str]) -> tuple[Any, str]:
        with self._lock:
            return self._kept[index] if 0 <= index < len(self._kept) else otherwise

    def _clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self._overflowed = False
