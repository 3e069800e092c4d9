"""The tasks that engines can have, one module each; a new one is a name in `TASKS`."""

from __future__ import annotations

import importlib

from runtime.tasks.task import Answer, Entry, Prediction, Task

TASKS = (
    "classification",
    "detection",
    "segmentation",
    "keypoints",
    "restoration",
    "instances",
    "embeddings",
    "pixels",
    "tracking",
    "codes",
)
"""Each is a module of this package with a `TASK`."""


def find_task(name: str) -> Task:
    """The task of that name; its module is imported when first asked for.

    Raises:
        ValueError: none of `TASKS`.
    """
    if name not in TASKS:  # names come from manifests too, and must not import anything else
        raise ValueError(f"found task {name!r}, expected one of {', '.join(TASKS)}")
    task: Task = importlib.import_module(f"runtime.tasks.{name}").TASK
    return task


__all__ = ["TASKS", "Answer", "Entry", "Prediction", "Task", "find_task"]
