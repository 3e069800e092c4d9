"""The model that an engine uses now, exchanged without taking it from anybody's hands."""

from __future__ import annotations

import threading

from runtime.errors import GoldenProbeError
from runtime.loading import Loaded
from runtime.model import Model
from runtime.proof import Proof


class InUse:
    """One loaded bundle at a time, or none once it is closed, or a reason to refuse frames."""

    def __init__(self, loaded: Loaded) -> None:
        """Begin with `loaded`, and release its model when another takes its place."""
        self._loaded: Loaded | None = loaded
        self._refusal: GoldenProbeError | None = None
        self._lock = threading.Lock()

    def get(self) -> Loaded:
        """What is in use; `ValueError` when closed."""
        with self._lock:
            return self._open()

    def hold(self) -> Model:
        """Its model, held; `GoldenProbeError` while it is refused."""
        with self._lock:
            if self._refusal is not None:
                raise GoldenProbeError(str(self._refusal), self._refusal.cosine)
            return self._open().model.hold()

    def proved(self, proof: Proof) -> None:
        """What is in use has passed its probes, so it is not refused."""
        with self._lock:
            self._open().proof, self._refusal = proof, None

    def refuse(self, error: GoldenProbeError) -> None:
        """Give the model to nobody until it is proved or replaced."""
        with self._lock:
            self._refusal = error

    def replace(self, new: Loaded | None) -> None:
        """Put `new`, or with None nothing, in its place."""
        with self._lock:
            old, self._loaded, self._refusal = self._loaded, new, None
        if old is not None:
            old.model.release()

    def _open(self) -> Loaded:
        if self._loaded is None:
            raise ValueError("the engine is closed; load it again")
        return self._loaded
