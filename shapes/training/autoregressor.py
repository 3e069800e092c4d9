"""Training and evaluation of the tiny iGPT: the next pixel, and nothing else.

What it is measured by: nats a pixel, against a model that knows only how frequent each colour is
(unigram); and how well a linear layer tells classes apart by its features (a linear probe, Chen et
al. 2020, section 2.4), which no label has helped to learn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from runtime.colours import Colours
from runtime.preparation import Preparation
from shapes.datasets.classification import classification
from shapes.training.trainer import Task, Trainer, Training, published

_TRAINING_SEED = 0  # of the images on which unigram and probe are fitted
_PROBE_STEPS = 300
_PROBE_DECAY = 1e-4


class Images(NamedTuple):
    """Tokens int64 (N, side²) and class labels int64 (N,)."""

    tokens: NDArray[np.int64]
    labels: NDArray[np.int64]


class Read(NamedTuple):
    """What a model makes of images: nats of each pixel (N, side²), and features (N, D)."""

    nats: Tensor
    features: Tensor


def load(preprocess: Preparation, seed: int, count: int) -> Images:
    """Renders the first `count` images of a set."""
    pairs = list(classification(seed, count))
    tokens = [preprocess.prepare(frame).images for frame, _ in pairs]
    return Images(np.concatenate(tokens), np.array([label for _, label in pairs]))


def batch_loss(
    model: nn.Module, tokens: NDArray[np.int64], batch: int, seed: int
) -> Callable[[], Tensor]:
    """Returns a function that draws a random batch, mirrored or not, and returns its nats a pixel.

    Args:
        model: the reference module.
        tokens: (N, side²) of all images.
        batch: images.
        seed: of the choice.
    """
    rng = np.random.default_rng(seed)
    side = round(tokens.shape[1] ** 0.5)

    def loss() -> Tensor:
        mirror = 1 - 2 * int(rng.integers(2))
        rows = tokens[rng.integers(len(tokens), size=batch)].reshape(batch, side, side)
        chosen = torch.from_numpy(rows[:, :, ::mirror].reshape(batch, -1).copy())
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(chosen)["logits"]
        return functional.cross_entropy(logits.float().flatten(0, 1), chosen.flatten())

    return loss


def _prepare(task: Task) -> Training:
    if task.weights is not None:
        task.model.load_state_dict(task.weights)
    tokens = load(task.preprocess, task.seed, task.recipe.images).tokens
    loss = batch_loss(task.model, tokens, task.recipe.batch, task.seed)
    return Training(task.model, loss, lambda: published(task.model))


@torch.no_grad()
def read(model: Any, tokens: NDArray[np.int64]) -> Read:
    """Of images (N, side²), in float32, fifty at a time."""
    parts = []
    for part in torch.split(torch.from_numpy(tokens), 50):
        outputs = model(part)
        nats = functional.cross_entropy(outputs["logits"].mT, part, reduction="none")
        parts.append(Read(nats, outputs["features"]))
    return Read(*(torch.cat(found) for found in zip(*parts, strict=True)))


def unigram(known: NDArray[np.int64], tokens: NDArray[np.int64], colours: int) -> float:
    """Nats a pixel of `tokens` under the frequencies of `known`, none of which is zero."""
    frequencies = np.bincount(known.ravel(), minlength=colours) + 1.0
    return float(-np.log(frequencies / frequencies.sum())[tokens].mean())


def probe(known: Tensor, labels: Tensor, features: Tensor) -> Tensor:
    """Classes (M,) that a linear layer, fitted to `known` (N, D), gives to `features` (M, D)."""
    mean, std = known.mean(dim=0), known.std(dim=0) + 1e-6
    known, features = (known - mean) / std, (features - mean) / std
    layer = nn.Linear(known.shape[1], int(labels.max()) + 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=_PROBE_STEPS)

    def closure() -> Tensor:
        optimizer.zero_grad()
        penalty = _PROBE_DECAY * layer.weight.square().sum()
        loss = functional.cross_entropy(layer(known), labels) + penalty
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    found: Tensor = layer(features).argmax(dim=1)
    return found


def score(model: Any, preprocess: Preparation, seed: int, count: int) -> dict[str, float]:
    """Nats a pixel on the first `count` images of a set; of the unigram too; the probe's top-1.

    Unigram and probe are fitted to four times as many training images.
    """
    assert isinstance(preprocess, Colours)
    model.eval()
    held_out = load(preprocess, seed, count)
    known = load(preprocess, _TRAINING_SEED, 4 * count)
    found = read(model, held_out.tokens)
    labels = torch.from_numpy(known.labels)
    classes = probe(read(model, known.tokens).features, labels, found.features).numpy()
    nats = float(found.nats.mean())
    guess = unigram(known.tokens, held_out.tokens, len(preprocess.palette))
    return {
        "nats": nats,
        "unigram_nats": guess,
        "below_unigram": 1 - nats / guess,
        "probe_top1": float((classes == held_out.labels).mean()),
    }


TRAINER = Trainer(_prepare, score, held_out=500)
