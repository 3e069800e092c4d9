"""What an engine and a pipeline tell whoever watches them, such as metrics."""

from __future__ import annotations

import functools
import logging
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.sources.events import SourceEvent

_log = logging.getLogger("vitrine.observer")
_here = threading.local()


class Observer:
    """Hears what happens; every method does nothing until a subclass overrides it.

    Methods are called from the threads of an engine or a pipeline, so they must be quick. What
    they raise is logged, once for each method, and goes no further. They may close or change what
    they hear of; closing then does not wait for what it ends.
    """

    def frame(self, source: str, outcome: str) -> None:
        """A frame is "delivered" with its prediction, "dropped" for a newer one, or "corrupt"."""

    def queue(self, source: str, depth: int) -> None:
        """So many frames of a source wait to be taken into a batch."""

    def batch(self, size: int) -> None:
        """A batch of `size` frames goes to the engine."""

    def stage(self, name: str, seconds: float) -> None:
        """A frame has spent `seconds` in "wait", "prepare", "infer", "postprocess" or "total".

        "wait" is from its arrival until it is taken into a batch, "total" from its arrival until
        its prediction; the time of a stage that works on a batch counts for each of its frames.
        """

    def event(self, event: SourceEvent) -> None:
        """A source was connected, lost, or else."""

    def reload(self, outcome: str) -> None:
        """A new bundle is in use ("done"), or was "refused" and the old one stays."""

    def probe(self, cosine: float, passed: bool) -> None:
        """The golden probes ran; `cosine` is the lowest of their outputs."""

    def fallback(self, backend: str) -> None:
        """The engine now runs in another back end than its bundle names."""


def guarded(observer: Observer | None) -> Observer:
    """An observer that passes everything on to `observer` and raises nothing."""
    outer, failed = Observer(), set[str]()
    for name, nothing in vars(Observer).items():
        heard = getattr(getattr(observer, name, None), "__func__", None) is not nothing
        if observer is not None and not name.startswith("_") and heard:
            setattr(outer, name, functools.partial(_tell, observer, name, failed))
    return outer


def in_callback() -> bool:
    """Whether this thread is in a method of an observer, which others may be waiting for."""
    return getattr(_here, "in_callback", False)


def _tell(observer: Observer, name: str, failed: set[str], *what: Any, **more: Any) -> None:
    outermost = not in_callback()
    _here.in_callback = True
    try:
        getattr(observer, name)(*what, **more)
    except Exception:  # of one that fails at every frame, one trace is enough
        level = logging.DEBUG if name in failed else logging.ERROR
        failed.add(name)
        _log.log(level, "an observer failed in its method %s", name, exc_info=True)
    finally:
        _here.in_callback = not outermost
