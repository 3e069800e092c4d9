"""Training and evaluation of the tiny ISTR.

The backbone begins as a detector's. Mask embeddings are the principal components of the training
set's own masks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from export.zoo.istr import Istr
from export.zoo.mask_embedding import MaskEmbedding
from runtime.drift.average_precision import average_precision
from runtime.drift.instances import mask_overlap
from runtime.drift.matching import match
from runtime.preparation import Preparation
from runtime.tasks.instances import Instances, find
from shapes.datasets.instances import instance_image, truth_of
from shapes.figures import DETECTION_NAMES
from shapes.scene import Cast
from shapes.training.instance_loss import Targets, set_loss
from shapes.training.recolouring import in_other_colours
from shapes.training.trainer import Task, Trainer, Training, published, tensors

_DETECTOR = "model.backbone.model."
"""How the backbone's tensors begin in a detector's weights."""


class Sample(NamedTuple):
    """A frame and its instances.

    Attributes:
        frame: uint8 (H, W, 3).
        boxes: float32 (M, 4), corners as shares of the frame.
        labels: int64 (M,).
        masks: bool (M, side, side), within the boxes.
    """

    frame: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    masks: NDArray[np.bool_]


def sample_of(image: Cast, side: int) -> Sample:
    """A rendered image with masks of `side` x `side` pixels, bilinearly enlarged or reduced."""
    truth = truth_of(image)
    height, width = image.frame.shape[:2]
    parts = (torch.from_numpy(mask.pixels)[None, None].float() for mask in truth.masks)
    masks = [functional.interpolate(part, (side, side), mode="bilinear") for part in parts]
    boxes = np.asarray(truth.boxes / np.array([width, height] * 2), np.float32)
    return Sample(image.frame, boxes, image.labels, (torch.cat(masks)[:, 0] >= 0.5).numpy())


def _batch_loss(
    model: Istr, preprocess: Preparation, samples: Sequence[Sample], batch: int, seed: int
) -> Callable[[], Tensor]:
    """Returns a function that draws a random changed batch and returns its loss."""
    rng = np.random.default_rng(seed)

    def loss() -> Tensor:
        chosen = [_changed(rng, samples[i]) for i in rng.integers(len(samples), size=batch)]
        inputs = preprocess([sample.frame for sample in chosen]).inputs["pixel_values"]
        pixels = torch.from_numpy(inputs).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            stages = model.refine(pixels)
        assert isinstance(model.mask_embedding, MaskEmbedding)
        return set_loss(stages, model.mask_embedding, targets_of(chosen))

    return loss


def _changed(rng: np.random.Generator, sample: Sample) -> Sample:
    """Changes a sample in ways that the rendered world is indifferent to: mirror and colours."""
    frame, boxes, labels, masks = sample
    frame = in_other_colours(rng, frame)
    if rng.integers(2):
        frame, masks = frame[:, ::-1], masks[:, :, ::-1]
        boxes = boxes[:, [2, 1, 0, 3]]
        boxes[:, 0::2] = 1 - boxes[:, 0::2]
    return Sample(np.ascontiguousarray(frame), boxes, labels, masks)


def targets_of(samples: Sequence[Sample]) -> Targets:
    """What a batch holds, padded to the most instances of an image."""
    counts = [len(sample.labels) for sample in samples]
    shape = (len(samples), max(counts))
    boxes, labels = torch.zeros(*shape, 4), torch.zeros(shape, dtype=torch.long)
    masks = torch.zeros(*shape, *samples[0].masks.shape[1:])
    for row, (count, sample) in enumerate(zip(counts, samples, strict=True)):
        boxes[row, :count] = torch.from_numpy(sample.boxes)
        labels[row, :count] = torch.from_numpy(sample.labels)
        masks[row, :count] = torch.from_numpy(sample.masks.astype(np.float32))
    return Targets(boxes, labels, masks, counts)


def _prepare(task: Task) -> Training:
    model: Istr = task.model
    embedding = model.mask_embedding
    assert isinstance(embedding, MaskEmbedding)
    images = (instance_image(task.seed, index) for index in range(task.recipe.images))
    samples = [sample_of(image, embedding.side) for image in images]
    embedding.fit(torch.from_numpy(np.concatenate([sample.masks for sample in samples])))
    if task.weights is not None:
        _restore(model, task.weights)
    task.model.to(memory_format=torch.channels_last)  # in which oneDNN's convolutions are faster
    loss = _batch_loss(model, task.preprocess, samples, task.recipe.batch, task.seed)
    return Training(model, loss, lambda: published(model))


def _restore(model: Istr, weights: Mapping[str, Tensor]) -> None:
    """Loads an ISTR's weights, or of a detector's the backbone."""
    backbone = {
        name.removeprefix(_DETECTOR): tensor
        for name, tensor in weights.items()
        if name.startswith(_DETECTOR)
    }
    if backbone:
        model.backbone.load_state_dict(backbone)
    else:
        model.load_state_dict(weights)


@torch.no_grad()
def mask_ap50(model: Any, preprocess: Preparation, seed: int, count: int) -> dict[str, float]:
    """COCO's average precision of masks and boxes, at IoU 0.5 and 0.5:0.95, of every query."""
    model.eval()
    images = [instance_image(seed, index) for index in range(count)]
    found: list[Instances] = []
    for start in range(0, count, 50):
        batch = preprocess([image.frame for image in images[start : start + 50]])
        outputs = {name: value.numpy() for name, value in model(**tensors(batch)).items()}
        found += find(outputs, batch.frame_sizes, DETECTION_NAMES, batch.regions, 0.0)
    truths = [truth_of(image) for image in images]
    every = np.ones((1, count))
    masks = average_precision(match(found, truths, mask_overlap), every)[0]
    boxes = average_precision(match(found, truths), every)[0]
    return {
        "mask_ap50": float(masks[0]),
        "mask_ap": float(masks.mean()),
        "box_ap50": float(boxes[0]),
        "box_ap": float(boxes.mean()),
    }


TRAINER = Trainer(_prepare, mask_ap50, held_out=1000)
