"""What an engine and a pipeline tell whoever watches them, such as metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.sources.events import SourceEvent


class Observer:
    """Hears what happens; every method does nothing until a subclass overrides it.

    Methods are called from the threads of an engine or a pipeline: they must be quick and must not
    raise.
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
