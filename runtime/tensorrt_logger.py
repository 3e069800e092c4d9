"""TensorRT's messages, kept instead of printed: the last errors become part of one line."""

from __future__ import annotations

import functools
import threading
from collections import deque
from typing import TYPE_CHECKING

from runtime.errors import one_line

if TYPE_CHECKING:
    import tensorrt

_KEPT = 4  # errors; TensorRT often explains one failure in several
# Of a thread that logs while it reads: garbage that it collects may have something to say.
_LOCK = threading.RLock()


def shared_logger() -> tensorrt.ILogger:
    """The process's logger, which keeps the last errors and drops all else; see `last_errors`.

    One for all runtimes and never freed: TensorRT holds one pointer to a logger, the first
    runtime's, until the last is gone (https://github.com/NVIDIA/TensorRT/issues/1475).

    Raises:
        ImportError: TensorRT's Python bindings are not installed.
    """
    with _LOCK:  # the cache alone would let two threads make one each
        return _logger()


@functools.cache
def _logger() -> tensorrt.ILogger:
    import tensorrt

    class KeepingLogger(tensorrt.ILogger):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)  # by name, as pybind11 asks of a subclass
            self.errors: deque[str] = deque(maxlen=_KEPT)

        def log(self, severity: tensorrt.ILogger.Severity, msg: str) -> None:
            if severity in (tensorrt.ILogger.ERROR, tensorrt.ILogger.INTERNAL_ERROR):
                with _LOCK:
                    self.errors.append(msg)

    return KeepingLogger()


def last_errors() -> str:
    """The kept errors in one line, the oldest first, and forgets them."""
    errors: deque[str] = shared_logger().errors  # type: ignore[attr-defined, unused-ignore]
    with _LOCK:
        text = "; ".join(dict.fromkeys(errors)) or "TensorRT gave no reason"
        errors.clear()
    return one_line(RuntimeError(text))
