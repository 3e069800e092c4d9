"""Endless data sets: every image is a function of (seed, index) alone."""

from __future__ import annotations

from shapes.datasets import classification, detection
from shapes.datasets.dataset import Dataset, Rendered

DATASETS: dict[str, Dataset] = {
    "classification": classification.DATASET,
    "detection": detection.DATASET,
}

__all__ = ["DATASETS", "Dataset", "Rendered"]
