"""Several sources into one engine: `Pipeline`."""

from __future__ import annotations

from runtime.pipeline.pipeline import Pipeline
from runtime.pipeline.result import Result
from runtime.pipeline.stats import SourceStats

__all__ = ["Pipeline", "Result", "SourceStats"]
