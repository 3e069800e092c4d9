"""What came out of a build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.candidates import Candidate
from engines.kit import KIT_SUFFIX
from export.samples import Split
from export.typed_graphs import Graphs
from export.weights import Reference
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

    @property
    def kit(self) -> bool:
        """Whether it is a kit, whose engine a device has yet to build."""
        return self.accepted and self.bundle.name.endswith(KIT_SUFFIX)

    @property
    def accepted(self) -> bool:
        """False when the drift gate said no, or INT8 is slower than float."""
        return not self.refused
