"""How well a DALL·E draws what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from export.answers import torch_run
from export.spec import find_model, load_models
from export.weights import load_reference
from export.zoo.dalle import DalleStep
from export.zoo.dalle_samples import codes_of, pictures
from runtime.generation import Sampling
from runtime.pixels import Frame
from runtime.preparation import Preparation
from runtime.tasks.codes import codes_after
from runtime.tasks.task import Graph
from shapes.datasets.drawings import drawings
from shapes.paint import quantised
from shapes.training.trainer import tensors

SAMPLING = Sampling(temperature=0.5)
"""With which drawings are judged."""
_AT_ONCE = 50  # drawings: each has a cache of its own


@torch.no_grad()
def drawings_of(model: Any, preprocess: Preparation, texts: Sequence[str]) -> list[Frame]:
    """What a model draws of texts with `SAMPLING`, frames (H, W, 3)."""
    step = Graph(torch_run(DalleStep(model), ("logits", "news")), preprocess)
    run, found, grid = torch_run(model, ("logits", "cache")), [], model.config.images.grid
    for start in range(0, len(texts), _AT_ONCE):
        tokens = preprocess(texts[start : start + _AT_ONCE]).inputs["input_ids"]
        numbers = range(start, start + len(tokens))
        codes = codes_after(tokens, run({"input_ids": tokens}), step, SAMPLING, numbers)
        made = model.dvae.decoder(torch.from_numpy(codes).view(-1, grid, grid))
        found += list(quantised(made.clamp(0, 1).permute(0, 2, 3, 1).numpy()))
    return found


@torch.no_grad()
def shapes_in(frames: Sequence[Frame]) -> NDArray[np.int64]:
    """What `vit_tiny_shapes` sees in each frame, (N,)."""
    judge = load_reference(find_model("vit_tiny_shapes", load_models()))
    logits = judge.module(**tensors(judge.preprocess(list(frames))))["logits"]
    seen: NDArray[np.int64] = logits.argmax(dim=1).numpy()
    return seen


@torch.no_grad()
def score(model: Any, preprocess: Preparation, seed: int, count: int) -> dict[str, float]:
    """On the first `count` drawings of a set.

    Returns:
        `recognised`, the share of images drawn of their captions in which the tiny ViT sees the
        captioned shape; PSNR of the dVAE in dB; how many codes it uses; nats a code.
    """
    model.eval()
    found = drawings(seed, count)
    texts, frames = [one.text for one in found], [one.frame for one in found]
    size = model.config.images.image_size
    images = torch.from_numpy(pictures(size)(frames).inputs["pixel_values"])
    codes = torch.from_numpy(codes_of(model, frames))
    grid = model.config.images.grid
    made = model.dvae.decoder(codes.view(-1, grid, grid)).clamp(0, 1)
    errors = (made - images).square().mean(dim=(1, 2, 3))
    words = torch.from_numpy(preprocess(texts).inputs["input_ids"])
    _, logits = following(model, words, codes)
    shapes = np.array([one.facts.shape for one in found])
    return {
        "recognised": float((shapes_in(drawings_of(model, preprocess, texts)) == shapes).mean()),
        "psnr_db": float((-10 * errors.log10()).mean()),
        "codes_used": float((codes.flatten().bincount() > 0).sum()),
        "nats": float(functional.cross_entropy(logits.flatten(0, 1), codes.flatten())),
    }


def following(model: Any, texts: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of the text's tokens but the first (B, Nt - 1, V), and of all codes (B, Ni, K)."""
    places = torch.arange(codes.shape[1] - 1)
    inputs = [model.text_tokens(texts), model.code_tokens(codes[:, :-1], places)]
    tokens, _ = model.seen(torch.cat(inputs, dim=1))
    last = texts.shape[1] - 1
    return model.text_head(tokens[:, :last]), model.code_head(tokens[:, last:])
