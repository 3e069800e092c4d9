"""Training and evaluation of the tiny DETR.

Three things make it converge in thousands of steps rather than DETR's hundreds of epochs. The
backbone, which has no pretrained weights, learns with live batch norms, whose statistics end up in
the frozen ones of the published module. The encoder's tokens are supervised too: the one at an
object's centre must name the object and its box. And several groups of queries learn at once, each
matched on its own (Group DETR, Chen et al. 2023, arXiv:2207.13085); only the first is kept.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers.models.detr.modeling_detr import DetrForObjectDetection, DetrFrozenBatchNorm2d

from shapes.training.trainer import published

GROUPS = 4
"""Groups of queries in training."""


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
        detr.to(memory_format=torch.channels_last)  # in which oneDNN's convolutions are faster
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


def deployable(model: GroupedDetr) -> dict[str, Tensor]:
    """Returns the weights of the published module: frozen batch norms, the first query group."""
    return published(model.detr)


def restore(model: GroupedDetr, weights: dict[str, Tensor]) -> None:
    """Loads what `deployable` returned; what is not published starts afresh."""
    missing, surplus = model.detr.load_state_dict(weights, strict=False)
    odd = [name for name in [*missing, *surplus] if "num_batches_tracked" not in name]
    if odd:
        raise ValueError(f"weights and model differ in {odd[0]}; resume from the same record's")


def _thaw(module: nn.Module) -> None:
    """Replaces frozen batch norms by live ones of the same parameter names."""
    for name, child in module.named_children():
        if isinstance(child, DetrFrozenBatchNorm2d):
            setattr(module, name, nn.BatchNorm2d(child.weight.numel()))
        else:
            _thaw(child)
