"""How well a model does on rendered images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from runtime import Preprocess
from runtime.drift.detection import average_precision
from runtime.drift.matching import match
from runtime.postprocess import Detections, detect
from runtime.preprocess import Batch
from shapes.figures import DETECTION_NAMES
from shapes.scene import Annotated
from shapes.training.classifier import Images


@torch.no_grad()
def accuracy(model: nn.Module, preprocess: Preprocess, images: Images) -> float:
    """Top-1 accuracy in 0..1, computed in float32."""
    model.eval()
    found = [
        model(**_inputs(preprocess(list(part)))).logits.argmax(1).numpy()
        for part in np.array_split(images.frames, -(-len(images.frames) // 100))
    ]
    return float((np.concatenate(found) == images.labels).mean())


@torch.no_grad()
def ap50(detr: nn.Module, preprocess: Preprocess, images: Sequence[Annotated]) -> float:
    """COCO average precision at IoU 0.5 of all queries' boxes, without a score threshold."""
    detr.eval()
    found: list[Detections] = []
    for start in range(0, len(images), 32):
        batch = preprocess([image.frame for image in images[start : start + 32]])
        outputs = detr(**_inputs(batch))
        arrays = outputs.logits.numpy(), outputs.pred_boxes.numpy()
        found.extend(detect(*arrays, batch.frame_sizes, DETECTION_NAMES, 0.0, batch.regions))
    truths = [
        Detections(
            boxes=image.boxes,
            scores=np.ones(len(image.labels), np.float32),
            labels=tuple(DETECTION_NAMES[label] for label in image.labels),
            indices=image.labels,
        )
        for image in images
    ]
    return float(average_precision(match(found, truths), np.ones((1, len(images))))[0, 0])


def _inputs(batch: Batch) -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in batch.inputs.items()}
