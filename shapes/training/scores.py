"""How well a detector does on rendered images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from runtime.drift.average_precision import average_precision
from runtime.drift.matching import match
from runtime.preparation import Preparation
from runtime.tasks.detection import Detections, TrueBoxes, detect
from shapes.datasets.detection import detection
from shapes.figures import DETECTION_NAMES
from shapes.training.trainer import tensors


@torch.no_grad()
def ap50(detr: Any, preprocess: Preparation, seed: int, count: int) -> dict[str, float]:
    """COCO average precision at IoU 0.5 of all queries' boxes, without a score threshold."""
    detr.eval()
    images = list(detection(seed, count))
    found: list[Detections] = []
    for start in range(0, count, 32):
        batch = preprocess([image.frame for image in images[start : start + 32]])
        outputs = detr(**tensors(batch))
        arrays = outputs["logits"].numpy(), outputs["pred_boxes"].numpy()
        found.extend(detect(*arrays, batch.frame_sizes, DETECTION_NAMES, 0.0, batch.regions))
    truths = [TrueBoxes(image.boxes, image.labels) for image in images]
    return {"ap50": float(average_precision(match(found, truths), np.ones((1, count)))[0, 0])}
