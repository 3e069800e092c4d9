"""How well a tracker follows the figures of rendered clips."""

from __future__ import annotations

from typing import Any

import numpy as np

from export.answers import torch_run
from runtime.drift.identity import compare, idf1, mota
from runtime.preparation import Preparation
from runtime.tasks.task import MAIN, Graph, answers_of
from runtime.tasks.tracking import TASK
from shapes.datasets.tracks import clip, truth_of
from shapes.figures import DETECTION_NAMES

_AT_ONCE = 8


def tracking_scores(model: Any, preprocess: Preparation, seed: int, count: int) -> dict[str, float]:
    """IDF1 and MOTA over all clips together."""
    model.eval()

    graph = Graph(torch_run(model, TASK.outputs), preprocess)
    assert TASK.whole is not None
    followed = TASK.whole({MAIN: graph}, DETECTION_NAMES)
    counts = []
    for start in range(0, count, _AT_ONCE):
        clips = [clip(seed, index) for index in range(start, min(start + _AT_ONCE, count))]
        batch = preprocess([one.frames for one in clips])
        outputs = followed(graph.run(batch.inputs), batch)
        for one, answer in zip(clips, answers_of(outputs, batch), strict=True):
            counts.append(compare(truth_of(one), TASK.comparable(answer, DETECTION_NAMES)))
    total = np.array(counts).sum(axis=0)
    return {"idf1": float(idf1(total)), "mota": float(mota(total))}
