"""The model that an engine uses now, exchanged without taking it from anybody's hands."""

from __future__ import annotations

import threading

from runtime.errors import EngineError, GoldenProbeError
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

    @property
    def refused(self) -> bool:
        """Whether it is given to nobody."""
        return self._refusal is not None

    def proved(self, loaded: Loaded, proof: Proof) -> None:
        """It has passed its probes, so it is not refused, if it is still in use."""
        with self._lock:
            loaded.proof = proof
            if self._loaded is loaded:
                self._refusal = None

    def refuse(self, loaded: Loaded, error: GoldenProbeError) -> None:
        """Give its model to nobody until it is proved or replaced, if it is still in use."""
        with self._lock:
            if self._loaded is loaded:
                self._refusal = error

    def replace(self, old: Loaded, new: Loaded) -> None:
        """Put `new` in the place of `old`, which it was loaded for.

        Raises:
            ValueError: closed meanwhile.
            EngineError: something else has taken the place meanwhile.
        """
        with self._lock:
            now = self._loaded
            if now is old:
                self._loaded, self._refusal = new, None
        (old if now is old else new).model.release()
        if now is None:
            raise _closed()
        if now is not old:
            raise EngineError(
                f"{new.bundle.path} comes too late, {now.bundle.path} was put into use meanwhile; "
                "reload it if it is wanted"
            )

    def close(self) -> None:
        """Have nothing in use from now on."""
        with self._lock:
            old, self._loaded, self._refusal = self._loaded, None, None
        if old is not None:
            old.model.release()

    def _open(self) -> Loaded:
        if self._loaded is None:
            raise _closed()
        return self._loaded


def _closed() -> ValueError:
    return ValueError("the engine is closed; load it again")
