"""A rendered world of textured shapes, with exact labels, to train and test every model on."""

from __future__ import annotations

from shapes.datasets import classification, detection
from shapes.figures import DETECTION_NAMES, NAMES

__all__ = ["DETECTION_NAMES", "NAMES", "classification", "detection"]
