"""What came out of a build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engines.candidates import Candidate
from engines.kit import KIT_SUFFIX
from export.samples import Split
from export.typed_graphs import Graphs
from export.weights import Reference
from runtime.backends import Session, open_session
from runtime.drift.verdict import DriftReport


@dataclass(frozen=True)
class Built:
    """A build's result.

    Attributes:
        bundle: the bundle's folder; the `.rejected` one, which does not load, when it was refused.
        refused: why it was; empty when it was accepted.
        kept: the engine that was kept.
        why: why it was.
        candidates: everything that was measured.
        drift: of the kept engine against PyTorch, on the held-out images.
        split: the images.
        reference: the PyTorch model and where its weights came from.
        graphs: what there was to choose from.
        model: name of the file of the kept graph.
        session: back end in which it is measured here, and whether as written.
        parts: what came out of each part.
    """

    bundle: Path
    refused: str
    kept: Candidate
    why: str
    candidates: Sequence[Candidate]
    drift: DriftReport
    split: Split
    reference: Reference
    graphs: Graphs
    model: str
    session: tuple[str, bool]
    parts: Mapping[str, Built] = field(default_factory=dict)

    @property
    def kit(self) -> bool:
        """Whether it is a kit, whose engine a device has yet to build."""
        return self.accepted and self.bundle.name.endswith(KIT_SUFFIX)

    def open(self) -> Session:
        """The kept graph, where its drift is measured."""
        backend, faithful = self.session
        return open_session(backend, self.bundle / self.model, faithful=faithful)

    @property
    def accepted(self) -> bool:
        """False when the drift gate said no, or INT8 is slower than float."""
        return not self.refused
