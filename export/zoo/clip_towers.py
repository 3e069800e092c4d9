"""What both kinds of CLIP share (Radford et al. 2021, arXiv:2103.00020): the text tower, and norms.

Embeddings have length 1 in both graphs, so that their products are cosines. The text graph also
gives `scale`, by which training multiplied these to make logits (exp(t) in figure 3 of the paper):
a text's embedding, scaled, is the weight vector of a class (section 3.1.2).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from export.samples import Sample
from export.zoo.attention_interface import use_fused_attention
from export.zoo.causal import causal_bias
from export.zoo.family import Part
from runtime.preparation import Preparation
from runtime.texts import Texts

if TYPE_CHECKING:
    from export.weights import Reference

# Of the prompts that the authors publish for ImageNet; each makes other texts of the same classes.
_TEMPLATES = (
    "a photo of a {}",
    "a photo of the {}",
    "a picture of a {}",
    "a bad photo of a {}",
    "a close-up photo of a {}",
    "a drawing of a {}",
    "there is a {} in the scene",
    "this is a {}",
)


def unit(vectors: Tensor) -> Tensor:
    """(B, D) scaled to length 1."""
    return vectors / vectors.square().sum(dim=-1, keepdim=True).sqrt()


class TextTower(nn.Module):
    """A transformer whose state at the mark of the end stands for the text (section 2.4)."""

    def __init__(self, reference: Any) -> None:
        """Shares `text_model`, `text_projection` and `logit_scale` of a reference."""
        super().__init__()
        self.text_model: Any = reference.text_model
        self.text_projection: nn.Linear = reference.text_projection
        self.logit_scale: nn.Parameter = reference.logit_scale
        length = self.text_model.config.max_position_embeddings
        self.register_buffer("causal", causal_bias(length), persistent=False)

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        """Tokens (B, N) -> `embeds` (B, D) and `scale` (B, 1); the end has the highest number."""
        tokens = self.text_model.embeddings(input_ids)
        for layer in self.text_model.encoder.layers:
            tokens = layer(tokens, self.causal.to(tokens.dtype))
        # Only one place is read, so that norm and projection take that one alone.
        end = input_ids.to(torch.int32).argmax(dim=-1)  # TensorRT's has no int64
        place = end[:, None, None].expand(-1, 1, tokens.shape[-1])
        state = self.text_model.final_layer_norm(tokens.gather(1, place).squeeze(1))
        scale = self.logit_scale.exp().expand(input_ids.shape[0], 1)
        return {"embeds": unit(self.text_projection(state)), "scale": scale}


def text_samples(reference: Reference, samples: Sequence[Sample]) -> list[Sample]:
    """A text for each image: a class and a prompt that the image's name picks.

    Images of calibration and those that drift is measured on have other names.
    """
    return [Sample(f"text of {one.name}", partial(_text, reference, one)) for one in samples]


def _text(reference: Reference, sample: Sample) -> str:
    number = int.from_bytes(hashlib.sha256(sample.name.encode()).digest()[:8])
    number, prompt = divmod(number, len(_TEMPLATES))
    labels = reference.labels or ("thing",)
    return _TEMPLATES[prompt].format(labels[number % len(labels)])


def check_merges(module: nn.Module, preprocess: Preparation) -> None:
    """Texts must be cut into the symbols that the tower was trained with.

    Raises:
        ValueError: the merges make another number of symbols.
    """
    config: Any = getattr(module, "text_model").config  # noqa: B009
    tokenizer = preprocess.tokenizer if isinstance(preprocess, Texts) else None
    symbols = 0 if tokenizer is None else tokenizer.end + 1
    if symbols != config.vocab_size:
        raise ValueError(
            f"the merges make {symbols} symbols, the text tower knows {config.vocab_size}; give "
            "--weights a folder with the model's own merges.txt"
        )


TEXT = Part(TextTower, ("embeds", "scale"), text_samples, check_merges)


def use_operators_in_towers(model: nn.Module) -> None:
    """Fused attention in every transformer of `transformers` within a module, in place."""
    for child in model.modules():
        if isinstance(child, PreTrainedModel):
            use_fused_attention(child)
