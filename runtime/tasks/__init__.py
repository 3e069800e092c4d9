"""The tasks that engines can have, one module each; a new one is a line in `TASKS`."""

from __future__ import annotations

from runtime.tasks import classification, detection, keypoints, restoration, segmentation
from runtime.tasks.task import Answer, Entry, Prediction, Task

TASKS: dict[str, Task] = {
    "classification": classification.TASK,
    "detection": detection.TASK,
    "segmentation": segmentation.TASK,
    "keypoints": keypoints.TASK,
    "restoration": restoration.TASK,
}

__all__ = ["TASKS", "Answer", "Entry", "Prediction", "Task"]
