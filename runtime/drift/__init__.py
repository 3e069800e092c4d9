"""How far an engine's answers are from the PyTorch model's, and whether that is within its limits.

`measure.measure` compares two sets of outputs and returns a `verdict.DriftReport`;
`formats` writes that for JUnit, Markdown and JSON readers; `limits` names the metrics.
"""

from __future__ import annotations
