"""A stream of the device: copies, launches and waits in order, and graphs captured from it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from runtime.cuda_device import CudaError, call, cudart


class Graph:
    """Work captured from a stream, launched as a whole."""

    def __init__(self, executable: Any) -> None:
        """Own an instantiated graph, which `close` destroys."""
        self._executable = executable

    def launch(self, stream: Stream) -> None:
        """Put the whole work on a stream."""
        call("cudaGraphLaunch", self._executable, stream.handle)

    def close(self) -> None:
        """Destroy the graph; closing twice is harmless."""
        executable, self._executable = self._executable, None
        if executable is not None:
            call("cudaGraphExecDestroy", executable)


class Stream:
    """A stream that waits for no other: what it depends on is said with `wait_for`."""

    def __init__(self) -> None:
        """Create the stream on the thread's device; `close` destroys it."""
        library = cudart()
        self._kinds = library.cudaMemcpyKind
        # A blocking stream would forbid other threads the default stream while it is captured.
        self._stream = call("cudaStreamCreateWithFlags", library.cudaStreamNonBlocking)
        try:
            self._event = call("cudaEventCreateWithFlags", library.cudaEventDisableTiming)
        except CudaError:
            call("cudaStreamDestroy", self._stream)
            raise
        self.handle = int(self._stream)

    def to_device(self, target: int, source: int, nbytes: int) -> None:
        """Copy from pinned memory; both must stay as they are until `synchronise`."""
        self._copy(target, source, nbytes, self._kinds.cudaMemcpyHostToDevice)

    def to_host(self, target: int, source: int, nbytes: int) -> None:
        """Copy to pinned memory, which is ready after `synchronise`."""
        self._copy(target, source, nbytes, self._kinds.cudaMemcpyDeviceToHost)

    def on_device(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the device."""
        self._copy(target, source, nbytes, self._kinds.cudaMemcpyDeviceToDevice)

    def _copy(self, target: int, source: int, nbytes: int, kind: Any) -> None:
        if nbytes:
            call("cudaMemcpyAsync", target, source, nbytes, kind, self.handle)

    def wait_for(self, other: int) -> None:
        """Let what follows here begin after what is on the stream `other` by now."""
        call("cudaEventRecord", self._event, other)
        call("cudaStreamWaitEvent", self.handle, self._event, 0)

    def synchronise(self) -> None:
        """Wait until all is done; a failure of earlier work shows here."""
        call("cudaStreamSynchronize", self.handle)

    def capture(self, work: Callable[[], None]) -> Graph:
        """Record what `work` puts on this stream, instead of running it.

        Raises:
            CudaError: something in it cannot be captured.
        """
        modes = cudart().cudaStreamCaptureMode
        # Thread-local: other threads may allocate memory meanwhile.
        call("cudaStreamBeginCapture", self.handle, modes.cudaStreamCaptureModeThreadLocal)
        try:
            work()
        except BaseException:
            # The stream must not stay captured; what went wrong is what `work` says.
            with contextlib.suppress(CudaError):
                call("cudaGraphDestroy", call("cudaStreamEndCapture", self.handle))
            raise
        graph = call("cudaStreamEndCapture", self.handle)
        try:
            return Graph(call("cudaGraphInstantiate", graph, 0))
        finally:
            call("cudaGraphDestroy", graph)

    def close(self) -> None:
        """Destroy the stream; closing twice is harmless."""
        stream, self._stream = self._stream, None
        if stream is not None:
            try:
                call("cudaEventDestroy", self._event)
            finally:
                call("cudaStreamDestroy", stream)
