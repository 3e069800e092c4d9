"""TrackFormer (Meinhardt et al. 2022, arXiv:2101.02702): DETR that follows what it has found.

The decoder's output for an object is the object's *track query* in the next frame (section 3.2): it
enters the decoder beside the object queries, which find what is new. This is the formulation of
section 3 on the plain DETR; nothing is added to DETR's weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DetrConfig, DetrForObjectDetection

from export.attention import HIDDEN
from export.zoo import detr
from export.zoo.family import Family
from export.zoo.reference import OwnModule
from export.zoo.trackformer_samples import with_tracks


@dataclass(frozen=True)
class TrackFormerConfig:
    """A TrackFormer.

    Attributes:
        num_labels: classes, without "no object".
        num_queries: object queries.
        width: of a query and of a token.
        layers: of the encoder, and of the decoder.
        heads: of every attention.
        feedforward: width of the hidden layer of an MLP.
        backbone: keyword arguments of `transformers`' ResNet configuration.
    """

    num_labels: int
    num_queries: int
    width: int
    layers: tuple[int, int]
    heads: int
    feedforward: int
    backbone: Mapping[str, Any]

    def of_detr(self) -> DetrConfig:
        """The DETR that it is."""
        return DetrConfig(
            num_labels=self.num_labels,
            num_queries=self.num_queries,
            d_model=self.width,
            encoder_layers=self.layers[0],
            decoder_layers=self.layers[1],
            encoder_attention_heads=self.heads,
            decoder_attention_heads=self.heads,
            encoder_ffn_dim=self.feedforward,
            decoder_ffn_dim=self.feedforward,
            dropout=0.0,
            backbone_config={"model_type": "resnet", **self.backbone},
        )


class TrackFormer(DetrForObjectDetection):  # type: ignore[misc]
    """A DETR whose decoder takes track queries too."""

    def __init__(self, config: TrackFormerConfig) -> None:
        """Random weights, with DETR's names."""
        super().__init__(config.of_detr())

    def forward(
        self, pixel_values: Tensor, track_queries: Tensor, track_mask: Tensor
    ) -> dict[str, Tensor]:
        """What a frame shows.

        Args:
            pixel_values: (B, 3, H, W), all of it image.
            track_queries: (B, Q, D), what `hidden` was for objects of an earlier frame.
            track_mask: (B, Q), 1 where there is a track, 0 where there is none.

        Returns:
            `logits` (B, Q + N, C + 1), "no object" last, `pred_boxes` (B, Q + N, 4), centre x,
            centre y, width, height in 0..1, and `hidden` (B, Q + N, D): of the tracks, then of the
            object queries. Where there is no track, `hidden` is 0.
        """
        tokens, positions = self.encode(self.features(pixel_values))
        hidden = self.decode(tokens, positions, track_queries, track_mask)
        return {
            "logits": self.class_labels_classifier(hidden),
            "pred_boxes": self.bbox_predictor(hidden).sigmoid(),
            "hidden": hidden,
        }

    def features(self, pixel_values: Tensor) -> Tensor:
        """The backbone's last map (B, F, h, w)."""
        last: Tensor = self.model.backbone.model(pixel_values).feature_maps[-1]
        return last

    def encode(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's tokens and their positions, (B, h w, D) each."""
        base = self.model
        positions = base.position_embedding(
            shape=features.shape, device=features.device, dtype=features.dtype
        )
        tokens = base.input_projection(features).flatten(2).transpose(1, 2)
        positions = positions.flatten(2).transpose(1, 2)
        encoded = base.encoder(inputs_embeds=tokens, spatial_position_embeddings=positions)
        return encoded.last_hidden_state, positions

    def decode(
        self, tokens: Tensor, positions: Tensor, track_queries: Tensor, track_mask: Tensor
    ) -> Tensor:
        """Track and object queries (B, Q + N, D), decoded together (equation 1 of section 3.2).

        An object query begins at zero and is told apart by its learned position; a track query
        begins as what it was, which says where its object was, and has no position of its own.
        """
        places = self.model.query_position_embeddings.weight.expand(tokens.shape[0], -1, -1)
        starts = torch.cat([track_queries, torch.zeros_like(places)], dim=1)
        places = torch.cat([torch.zeros_like(track_queries), places], dim=1)
        objects = torch.ones_like(places[:, track_mask.shape[1] :, 0])
        present = torch.cat([track_mask, objects], dim=1)
        decoded = self.model.decoder(
            inputs_embeds=starts,
            attention_mask=((1 - present) * HIDDEN)[:, None, None],
            spatial_position_embeddings=positions,
            object_queries_position_embeddings=places,
            encoder_hidden_states=tokens,
        )
        hidden: Tensor = decoded.last_hidden_state * present[..., None]
        return hidden


FAMILY = Family(
    reference=OwnModule(TrackFormerConfig, TrackFormer),
    outputs=("logits", "pred_boxes", "hidden"),
    ragged=False,
    use_operators=detr.use_operators,
    # A DETR's weights are a TrackFormer's to start from.
    conventions=detr.FAMILY.conventions,
    with_state=with_tracks,
)
