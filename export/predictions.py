"""Predictions as a line of text."""

from __future__ import annotations

from runtime.tasks import Prediction


def as_text(prediction: Prediction) -> str:
    """What is found, with its box in pixels where it has one."""
    found = [
        f"{entry.label} {entry.score:.1%}"
        + (f" at ({', '.join(f'{edge:.0f}' for edge in entry.box)})" if entry.box else "")
        for entry in prediction.entries()
    ]
    return ", ".join(found) or "nothing found"
