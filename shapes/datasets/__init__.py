"""Endless data sets: every image is a function of (seed, index) alone."""

from __future__ import annotations

from shapes.datasets import (
    captions,
    classification,
    clips,
    detection,
    drawings,
    instances,
    keypoints,
    restoration,
    segmentation,
    tracks,
)
from shapes.datasets.dataset import Dataset, Rendered

DATASETS: dict[str, Dataset] = {
    "classification": classification.DATASET,
    "detection": detection.DATASET,
    "segmentation": segmentation.DATASET,
    "keypoints": keypoints.DATASET,
    "captions": captions.DATASET,
    "instances": instances.DATASET,
    "tracks": tracks.DATASET,
    "clips": clips.DATASET,
    "drawings": drawings.DATASET,
    **{f"restoration_{kind}": restoration.dataset(kind) for kind in restoration.KINDS},
}

__all__ = ["DATASETS", "Dataset", "Rendered"]
