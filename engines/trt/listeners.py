"""TensorRT's callbacks during a build: what it logs and reports, and how far it is.

The classes derive from TensorRT's own, so they are made in functions: importing this module must
not import tensorrt. Both base classes are initialised by name, as NVIDIA's bindings demand, and
both are called from several threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, SupportsInt

from runtime.tensorrt_errors import ErrorRecord, Reported

if TYPE_CHECKING:
    import tensorrt as trt

_BETWEEN = 30.0  # seconds between two reports of one phase's steps: a line each on no terminal


@dataclass
class Messages:
    """What TensorRT said.

    Attributes:
        errors: what it logged, each message once, in order, on one line.
        warnings: the same of those.
        record: errors with their codes, of objects that have its recorder; they are not logged.
    """

    errors: dict[str, None] = field(default_factory=dict)
    warnings: dict[str, None] = field(default_factory=dict)
    record: ErrorRecord = field(default_factory=ErrorRecord)

    @property
    def last_error(self) -> str:
        """The newest error that was logged; empty when there is none."""
        return next(reversed(self.errors), "")

    def failures(self) -> list[Reported]:
        """Why a call failed, the oldest error first; at least one."""
        return self.record.take() or [Reported("", self.last_error or "it gave no reason")]


def make_logger(messages: Messages) -> trt.ILogger:
    """A logger that keeps errors and warnings in `messages` and prints nothing."""
    import tensorrt as trt

    class _Logger(trt.ILogger):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                messages.errors[" ".join(msg.split())] = None
            elif severity == trt.ILogger.WARNING:
                messages.warnings[" ".join(msg.split())] = None

    return _Logger()


def make_monitor(
    say: Callable[[str], None], cancelled: Callable[[], bool], between: float = _BETWEEN
) -> trt.IProgressMonitor:
    """A progress monitor.

    Args:
        say: told of each outermost phase as it starts and, every `between` seconds at most, of
            the steps of whatever phase is at work.
        cancelled: asked after each step; true stops the build.
        between: in seconds.
    """
    import tensorrt as trt

    class _Monitor(trt.IProgressMonitor):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._lock = threading.Lock()
            self._steps: dict[str, int] = {}
            self._said = time.monotonic()

        def phase_start(self, phase_name: str, parent_phase: str, num_steps: SupportsInt) -> None:
            with self._lock:
                self._steps[phase_name] = int(num_steps)
            if not parent_phase:  # None in fact, for the outermost
                say(f"TensorRT: {phase_name}")

        def step_complete(self, phase_name: str, step: SupportsInt) -> bool:
            with self._lock:
                due = time.monotonic() - self._said >= between
                if due:
                    self._said = time.monotonic()
                steps = self._steps.get(phase_name, 0)
            if due:
                say(f"TensorRT: {phase_name}, {int(step) + 1} of {steps}")
            return not cancelled()

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                self._steps.pop(phase_name, None)

    return _Monitor()
