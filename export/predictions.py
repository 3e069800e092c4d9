"""Predictions as a line of text and as JSON values."""

from __future__ import annotations

from typing import Any

from runtime.postprocess import Classification, Detections


def as_text(prediction: Classification | Detections) -> str:
    """The three best classes, or every object with its box in pixels."""
    if isinstance(prediction, Classification):
        return ", ".join(f"{guess.label} {guess.probability:.1%}" for guess in prediction.top[:3])
    if not len(prediction):
        return "nothing found"
    objects = zip(prediction.labels, prediction.scores, prediction.boxes, strict=True)
    return ", ".join(
        f"{label} {score:.1%} at ({', '.join(f'{edge:.0f}' for edge in box)})"
        for label, score, box in objects
    )


def as_json(prediction: Classification | Detections) -> dict[str, Any]:
    """The same as plain values; boxes are left, top, right, bottom in pixels."""
    if isinstance(prediction, Classification):
        return {"top": [guess._asdict() for guess in prediction.top]}
    objects = zip(prediction.labels, prediction.scores, prediction.boxes, strict=True)
    return {
        "objects": [
            {"label": label, "score": float(score), "box": [float(edge) for edge in box]}
            for label, score, box in objects
        ]
    }
