"""A rendered world of textured shapes, with exact labels, to train and test every model on."""

from __future__ import annotations

from shapes.datasets import DATASETS
from shapes.datasets.classification import classification
from shapes.datasets.detection import detection
from shapes.figures import DETECTION_NAMES, NAMES

__all__ = ["DATASETS", "DETECTION_NAMES", "NAMES", "classification", "detection"]
