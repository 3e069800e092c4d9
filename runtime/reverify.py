"""Runs an engine's golden probes again every so often, at a moment when it has nothing to do."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from runtime.errors import one_line

_log = logging.getLogger("vitrine.engine")
_QUIET_S = 0.05  # without an inference for this long, the next frame is not expected at once


class Reverifier:
    """A thread that verifies every `every` seconds, until it is stopped."""

    def __init__(
        self, verify: Callable[[], float], idle: Callable[[float], bool], every: float
    ) -> None:
        """Start it; `idle` says whether nothing has run for some seconds."""
        self._verify, self._idle, self._every = verify, idle, every
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="vitrine-reverify", daemon=True)
        self._thread.start()

    def stop(self, *, wait: bool = True) -> None:
        """End the thread, after the verification that it may be in."""
        self._stopping.set()
        if wait and self._thread is not threading.current_thread():
            self._thread.join()

    def _watch(self) -> None:
        while not self._stopping.wait(self._every):
            try:
                self._verify_when_idle()
            except Exception as error:  # whatever went wrong, the next one counts
                if not self._stopping.is_set():  # else the engine may be closed already
                    text = "verification failed, the next is in %g s: %s"
                    _log.error(text, self._every, one_line(error))

    def _verify_when_idle(self) -> None:
        latest = time.monotonic() + self._every
        while not self._idle(_QUIET_S) and time.monotonic() < latest:
            if self._stopping.wait(_QUIET_S):
                return
        self._verify()
