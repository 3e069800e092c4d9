"""TensorRT's messages, kept instead of printed: the last errors become part of one line."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from runtime.errors import one_line

if TYPE_CHECKING:
    import tensorrt

_KEPT = 4  # errors; TensorRT often explains one failure in several


def make_logger() -> tensorrt.ILogger:
    """A logger that keeps the last errors and drops all else; read it with `last_errors`.

    It must live longer than every object of TensorRT that was made with it.

    Raises:
        ImportError: TensorRT's Python bindings are not installed.
    """
    import tensorrt

    class KeepingLogger(tensorrt.ILogger):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)  # by name, as pybind11 asks of a subclass
            self.errors: deque[str] = deque(maxlen=_KEPT)

        def log(self, severity: tensorrt.ILogger.Severity, msg: str) -> None:
            if severity in (tensorrt.ILogger.ERROR, tensorrt.ILogger.INTERNAL_ERROR):
                self.errors.append(msg)

    return KeepingLogger()


def last_errors(logger: tensorrt.ILogger) -> str:
    """The kept errors in one line, the oldest first, and forgets them."""
    errors: deque[str] = logger.errors  # type: ignore[attr-defined, unused-ignore]
    text = "; ".join(dict.fromkeys(errors)) or "TensorRT gave no reason"
    errors.clear()
    return one_line(RuntimeError(text))
