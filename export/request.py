"""What a build is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from export.spec import ROOT, ModelSpec

BUILT = ROOT / "engines" / "built"
"""Where bundles and kits go unless told otherwise."""


@dataclass(frozen=True)
class Request:
    """What a build is asked for; see the command's help for each field."""

    spec: ModelSpec
    precision: str
    target: str = "cpu"
    weights: str | None = None
    calibration: Path | None = None
    images: int | None = None
    seed: int | None = None
    max_drift: Mapping[str, float] = field(default_factory=dict)
    out: Path = BUILT
    confidence: float = 0.95
    precision_map: Path | None = None
    keep_slower: bool = False
    cache: Path | None = None
    max_batch: int = 8
