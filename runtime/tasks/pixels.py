"""Pixels: how probable a frame is to a model that predicts each pixel from those before it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.batch import Batch
from runtime.drift.pixels import METRICS, PixelAnswer, estimate
from runtime.generation import continued
from runtime.tasks.task import Answer, Drift, Entry, Graph, Outputs, Prediction, Task

_COMPLETED = 16  # pixels after half an image that are compared: each takes an inference


@dataclasses.dataclass(frozen=True, eq=False)
class Pixels(Prediction):
    """What a model makes of one frame, at the size that it sees.

    Attributes:
        nats: float32 (H, W), -log p of each pixel's colour, given the pixels before it.
        most_likely: int64 (H, W), the most probable colour of each, an index into the palette; -1
            where the model says nothing finite.
        features: float32 (D,), of the whole frame, for a linear probe.
    """

    nats: npt.NDArray[np.float32]
    most_likely: npt.NDArray[np.int64]
    features: npt.NDArray[np.float32]

    @property
    def nll(self) -> float:
        """Nats a pixel, mean."""
        return float(self.nats.mean())

    def entries(self) -> list[Entry]:
        """Nats a pixel; the score is the probability of a pixel, geometric mean."""
        return [Entry(f"{self.nll:.3f} nats a pixel", math.exp(-self.nll))]

    def as_json(self) -> dict[str, Any]:
        """All but the nats of each pixel."""
        return {
            "nats_per_pixel": self.nll,
            "most_likely": self.most_likely.tolist(),
            "features": self.features.tolist(),
        }

    def picture(self) -> npt.NDArray[np.uint8]:
        """How probable each pixel was: white for certain, black for impossible."""
        return np.asarray(np.nan_to_num(np.exp(-self.nats)) * 255 + 0.5, np.uint8)


def nats_of(logits: npt.NDArray[Any], tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """-log softmax (N, P) of tokens (N, P) by logits (N, P, V); NaN where these are not finite."""
    values = logits.astype(np.float32)
    with np.errstate(invalid="ignore"):
        values = values - values.max(axis=-1, keepdims=True)
        chosen = np.take_along_axis(values, tokens[..., None], axis=-1)[..., 0]
        return np.asarray(np.log(np.exp(values).sum(axis=-1)) - chosen)


def _read(outputs: Outputs, batch: Batch) -> Outputs:
    """What is made of the graph's outputs: most probable tokens, nats of the true ones, features.

    Outputs of which it was made already, for a report, are returned as they are.
    """
    if "nats" in outputs:
        return outputs
    logits = outputs["logits"]
    return {
        "tokens": np.where(np.isfinite(logits).all(axis=-1), logits.argmax(axis=-1), -1),
        "nats": nats_of(logits, batch.inputs["input_ids"]),
        "features": outputs["features"].astype(np.float32),
    }


def _predict(
    outputs: Outputs, batch: Batch, labels: Sequence[str], threshold: float
) -> list[Pixels]:
    read = _read(outputs, batch)
    side = math.isqrt(read["nats"].shape[1])
    nats, tokens = (read[name].reshape(-1, side, side) for name in ("nats", "tokens"))
    return [Pixels(*row) for row in zip(nats, tokens, read["features"], strict=True)]


def _completed(step: Graph | None, outputs: Outputs, batch: Batch) -> Outputs:
    """What is compared: without logits and cache, which are large, but with a completion."""
    logits, pixels = outputs["logits"], outputs["logits"].shape[1]
    half, completion = pixels // 2, np.empty((len(logits), 0), np.int64)
    if step is not None:
        count = min(_COMPLETED, pixels - half)
        completion = continued(step.run, logits[:, half], outputs["cache"], half, count)
    return {**_read(outputs, batch), "completion": completion}


def _comparable(answer: Answer, labels: Sequence[str]) -> PixelAnswer:
    tokens, nats, features, completion = (
        answer.outputs[name][0] for name in ("tokens", "nats", "features", "completion")
    )
    return PixelAnswer(tokens, float(nats.mean()), features, completion)


TASK = Task(
    outputs=("logits", "features", "cache"),
    predict=_predict,
    comparable=_comparable,
    decisions=lambda outputs: outputs["logits"].argmax(-1),
    read_truths=lambda folder: {},
    drift=Drift(METRICS, estimate),
    whole=lambda parts, labels: partial(_completed, parts.get("step")),
)
