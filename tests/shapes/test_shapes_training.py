"""Training: it learns, and what it saves is the module that transformers builds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import DetrForObjectDetection

import shapes
from runtime import Preprocess
from shapes import train
from shapes.training import detection_batches, detector
from shapes.training.loop import Recipe, fit
from shapes.training.trainer import Training


@pytest.mark.parametrize("model", sorted(train.RECIPES))
def test_twenty_steps_lower_the_loss(model: str) -> None:
    recipe = Recipe(images=8, steps=20, batch=8, rate=1e-3, decay=0.0, warmup=5)
    training = train.prepare(train.read_record(model), recipe, seed=0)
    before = _mean_loss(training)
    fit(training.module, training.loss, recipe)
    # A mean of eight batches evens out how their images were turned and coloured.
    assert _mean_loss(training) < 0.9 * before


@torch.no_grad()
def _mean_loss(training: Training) -> float:
    return float(np.mean([training.loss().item() for _ in range(8)]))


@torch.no_grad()
def test_deployed_detr_predicts_what_the_first_group_of_the_trained_one_does() -> None:
    record = train.read_record("detr_tiny_shapes")
    grouped = detector.GroupedDetr(train.build(record))
    images = list(shapes.detection(0, 4))
    inputs = {
        name: torch.from_numpy(value)
        for name, value in Preprocess.from_dict(record["preprocess"])(
            [image.frame for image in images]
        ).inputs.items()
    }
    grouped(**inputs)  # moves the live batch norms' statistics away from their initial values
    trained = grouped.eval()(**inputs)
    detr = train.build(record)
    assert isinstance(detr, DetrForObjectDetection)
    detr.load_state_dict(detector.deployable(grouped))
    outputs = detr.eval()(**inputs)
    # Predictions are stacked by decoder layer, then by group: of the last layer, the first group.
    last = trained.logits.shape[0] - detector.GROUPS
    # Another order of float32 operations in the two batch norms and attentions.
    torch.testing.assert_close(outputs.logits, trained.logits[last], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(outputs.pred_boxes, trained.boxes[last], rtol=1e-3, atol=1e-4)


def test_turned_samples_keep_their_boxes_on_their_figures() -> None:
    # A white rectangle on black: wherever it goes, its bounds are its box.
    frame = np.zeros((40, 60, 3), np.uint8)
    frame[8:16, 30:54] = 255
    box = np.array([[0.7, 0.3, 0.4, 0.2]], np.float32)
    rng = np.random.default_rng(0)
    shapes_seen = set()
    for portrait in (None, 0, 1) * 40:
        turned, boxes, _ = detection_batches.turned(
            rng, detection_batches.Sample(frame, box, np.zeros(1, np.int64)), portrait
        )
        rows, columns = np.nonzero(turned[..., 0])
        height, width = turned.shape[:2]
        low = np.array([columns.min() / width, rows.min() / height])
        high = np.array([(columns.max() + 1) / width, (rows.max() + 1) / height])
        # float32 rounding of the shares.
        np.testing.assert_allclose(boxes[0], [*(low + high) / 2, *high - low], atol=1e-6)
        assert portrait is None or (height > width) == bool(portrait)
        shapes_seen.add((height, width, *np.round(boxes[0], 3)))
    assert len(shapes_seen) == 8
