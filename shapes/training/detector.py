"""Training and evaluation of the tiny DETR.

Three things make it converge in thousands of steps rather than DETR's hundreds of epochs. The
backbone, which has no pretrained weights, learns with live batch norms, whose statistics end up in
the frozen ones of the published module. The encoder's tokens are supervised too: the one at an
object's centre must name the object and its box. And several groups of queries learn at once, each
matched on its own (Group DETR, Chen et al. 2023, arXiv:2207.13085); only the first is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.models.detr.modeling_detr import DetrForObjectDetection, DetrFrozenBatchNorm2d

from runtime import Preprocess
from runtime.drift.detection import average_precision
from runtime.drift.matching import match
from runtime.postprocess import Detections, detect
from shapes.figures import DETECTION_NAMES
from shapes.scene import Annotated
from shapes.training.detr_loss import Targets, set_loss, token_loss

GROUPS = 4
"""Groups of queries in training."""


class Sample(NamedTuple):
    """A frame uint8 (H, W, 3), boxes (M, 4) cxcywh as shares of the frame, and labels (M,)."""

    frame: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]


class Predictions(NamedTuple):
    """What the wrapped model predicts in training; K runs over decoder layers and query groups.

    Attributes:
        logits: float32 (K, N, queries, classes + 1).
        boxes: float32 (K, N, queries, 4), cxcywh as shares of the frame.
        token_logits: float32 (N, H * W, classes + 1), of the encoder's tokens.
        token_boxes: float32 (N, H * W, 4).
        mask: bool (N, H, W), tokens that see some of the frame.
    """

    logits: Tensor
    boxes: Tensor
    token_logits: Tensor
    token_boxes: Tensor
    mask: Tensor


class GroupedDetr(nn.Module):
    """Wraps a DETR for training: live batch norms, all decoder layers, several query groups."""

    def __init__(self, detr: DetrForObjectDetection) -> None:
        """Takes over `detr`, whose batch norms and backbone weights are replaced."""
        super().__init__()
        _thaw(detr)
        detr.model.unfreeze_backbone()
        for module in detr.model.backbone.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.detr = detr
        queries = detr.model.query_position_embeddings
        self.extra = nn.Embedding((GROUPS - 1) * queries.num_embeddings, queries.embedding_dim)
        self.token_classifier = nn.Linear(queries.embedding_dim, detr.config.num_labels + 1)
        self.token_boxes = nn.Linear(queries.embedding_dim, 4)
        self._states: list[Tensor] = []
        for layer in detr.model.decoder.layers:
            layer.register_forward_hook(lambda _module, _args, state: self._states.append(state))

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> Predictions:
        """Predicts from every decoder layer, query group and encoder token.

        `DetrModel.forward` is repeated here because it
        knows one group only; its `auxiliary_loss` also feeds each normalised state to the next
        layer, which would make the trained decoder another one than that which is deployed.
        """
        base = self.detr.model
        features, mask = base.backbone(pixel_values, pixel_mask)[-1]
        tokens = base.input_projection(features).flatten(2).transpose(1, 2)
        position = base.position_embedding(
            shape=features.shape, device=features.device, dtype=pixel_values.dtype, mask=mask
        )
        position, seen = position.flatten(2).transpose(1, 2), mask.flatten(1)
        encoded = base.encoder(
            inputs_embeds=tokens, attention_mask=seen, spatial_position_embeddings=position
        ).last_hidden_state
        images, width = tokens.shape[0], tokens.shape[2]
        queries = torch.cat([base.query_position_embeddings.weight, self.extra.weight])
        queries = queries.view(GROUPS, 1, -1, width).expand(-1, images, -1, -1).flatten(0, 1)
        self._states.clear()
        base.decoder(
            inputs_embeds=torch.zeros_like(queries),
            spatial_position_embeddings=position.repeat(GROUPS, 1, 1),
            object_queries_position_embeddings=queries,
            encoder_hidden_states=encoded.repeat(GROUPS, 1, 1),
            encoder_attention_mask=seen.repeat(GROUPS, 1),
        )
        states = base.decoder.layernorm(torch.stack(self._states))
        states = states.view(-1, images, *states.shape[2:])
        return Predictions(
            self.detr.class_labels_classifier(states).float(),
            self.detr.bbox_predictor(states).sigmoid().float(),
            self.token_classifier(encoded).float(),
            self.token_boxes(encoded).sigmoid().float(),
            mask,
        )


def batch_loss(
    model: GroupedDetr, preprocess: Preprocess, images: Sequence[Annotated], batch: int, seed: int
) -> Callable[[], Tensor]:
    """Returns a function that draws a random turned batch and returns DETR's loss on it."""
    rng = np.random.default_rng(seed)
    samples = [_sample(image) for image in images]

    def loss() -> Tensor:
        # Batches of one orientation waste less on padding; mixed ones teach the mask.
        portrait = rng.integers(2) if rng.uniform() < 0.8 else None
        chosen = [turned(rng, samples[i], portrait) for i in rng.integers(len(samples), size=batch)]
        inputs = preprocess([sample.frame for sample in chosen]).inputs
        pixels = torch.from_numpy(inputs["pixel_values"]).contiguous(
            memory_format=torch.channels_last
        )
        with torch.autocast("cpu", torch.bfloat16):
            found: Predictions = model(pixels, torch.from_numpy(inputs["pixel_mask"]))
        targets = _targets(chosen)
        by_query = set_loss(found.logits, found.boxes, targets) / GROUPS
        return by_query + token_loss(found.token_logits, found.token_boxes, found.mask, targets)

    return loss


def deployable(model: GroupedDetr) -> dict[str, Tensor]:
    """Returns the weights of the published module: frozen batch norms, the first query group."""
    state: dict[str, Tensor] = model.detr.state_dict()
    return {name: value for name, value in state.items() if "num_batches_tracked" not in name}


@torch.no_grad()
def ap50(
    detr: DetrForObjectDetection, preprocess: Preprocess, images: Sequence[Annotated]
) -> float:
    """COCO average precision at IoU 0.5 of all queries' boxes, without a score threshold."""
    detr.eval()
    found: list[Detections] = []
    for start in range(0, len(images), 32):
        batch = preprocess([image.frame for image in images[start : start + 32]])
        inputs = {name: torch.from_numpy(value) for name, value in batch.inputs.items()}
        outputs: Any = detr(**inputs)
        arrays = outputs.logits.numpy(), outputs.pred_boxes.numpy()
        found.extend(detect(*arrays, batch.frame_sizes, DETECTION_NAMES, threshold=0.0))
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


def _thaw(module: nn.Module) -> None:
    """Replaces frozen batch norms by live ones of the same parameter names."""
    for name, child in module.named_children():
        if isinstance(child, DetrFrozenBatchNorm2d):
            setattr(module, name, nn.BatchNorm2d(child.weight.numel()))
        else:
            _thaw(child)


def _sample(image: Annotated) -> Sample:
    height, width = image.frame.shape[:2]
    corners = image.boxes / np.array([width, height, width, height], np.float32)
    low, high = corners[:, :2], corners[:, 2:]
    return Sample(image.frame, np.concatenate([(low + high) / 2, high - low], 1), image.labels)


def turned(rng: np.random.Generator, sample: Sample, portrait: int | None) -> Sample:
    """Transposes and mirrors a sample at random, to the wanted orientation if there is one."""
    frame, boxes, labels = sample
    is_portrait = frame.shape[0] > frame.shape[1]
    if rng.integers(2) if portrait is None else is_portrait != bool(portrait):
        frame, boxes = frame.transpose(1, 0, 2), boxes[:, [1, 0, 3, 2]]
    for axis, centre in ((1, 0), (0, 1)):
        if rng.integers(2):
            frame, boxes = np.flip(frame, axis), boxes.copy()
            boxes[:, centre] = 1 - boxes[:, centre]
    return Sample(frame, boxes, labels)


def _targets(samples: Sequence[Sample]) -> Targets:
    counts = [len(sample.labels) for sample in samples]
    boxes = torch.full((len(samples), max(counts), 4), 0.5)
    labels = torch.zeros((len(samples), max(counts)), dtype=torch.long)
    for row, (count, sample) in enumerate(zip(counts, samples, strict=True)):
        boxes[row, :count] = torch.from_numpy(sample.boxes)
        labels[row, :count] = torch.from_numpy(sample.labels)
    return Targets(boxes, labels, counts)
