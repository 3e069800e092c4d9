"""Embeddings: an image or a text as a vector of length 1, to be compared with others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.batch import Batch
from runtime.drift.embeddings import METRICS, Embedded, estimate
from runtime.pieces import in_pieces
from runtime.tasks.classification import TASK as CLASSIFICATION
from runtime.tasks.task import Answer, Drift, Entry, Graph, Outputs, Prediction, Task, Whole

PROMPT = "a photo of a {}"
"""Says of which class a picture is (Radford et al. 2021, section 3.1.4)."""
_TEXTS = 8  # at once


@dataclasses.dataclass(frozen=True, eq=False)
class Embedding(Prediction):
    """Where an image or a text lies.

    Attributes:
        vector: float32 (D,), of length 1; the product of two is their cosine.
        scale: by which training multiplied cosines to make logits, where the model says so.
    """

    vector: npt.NDArray[np.float32]
    scale: float | None = None

    def entries(self) -> list[Entry]:
        """None: an embedding says nothing by itself."""
        return []

    def remark(self) -> str:
        """How long it is."""
        return f"an embedding of {len(self.vector)} numbers, to be compared with others"

    def as_json(self) -> dict[str, Any]:
        """The vector's numbers, and the scale where there is one."""
        record: dict[str, Any] = {"embedding": self.vector.tolist()}
        return record if self.scale is None else record | {"scale": self.scale}


def _predict(
    outputs: Outputs, batch: Batch, labels: Sequence[str], threshold: float
) -> list[Embedding]:
    vectors = outputs["embeds"].astype(np.float32)
    if "scale" not in outputs:
        return [Embedding(vector) for vector in vectors]
    pairs = zip(vectors, outputs["scale"], strict=True)
    return [Embedding(vector, float(scale.item())) for vector, scale in pairs]


def _whole(parts: Mapping[str, Graph], labels: Sequence[str]) -> Whole:
    """Adds `logits` (N, classes): zero-shot classification by a prompt for each label."""
    if "text" not in parts or not labels:
        return lambda outputs, batch: outputs
    text = parts["text"]
    prompts = text.preprocess([PROMPT.format(label) for label in labels])
    found = in_pieces(text.run, prompts.inputs, _TEXTS)
    weights = found["scale"].astype(np.float32) * found["embeds"].astype(np.float32)
    return lambda outputs, batch: {
        **outputs,
        "logits": outputs["embeds"].astype(np.float32) @ weights.T,
    }


def _comparable(answer: Answer, labels: Sequence[str]) -> Embedded:
    logits = answer.outputs.get("logits")
    return Embedded(answer.outputs["embeds"][0], None if logits is None else logits[0])


TASK = Task(
    outputs=("embeds",),
    predict=_predict,
    comparable=_comparable,
    # On which side of each axis it lies: what differs grows with the angle (Charikar 2002).
    decisions=lambda outputs: np.asarray(outputs["embeds"] > 0, np.int64).ravel(),
    read_truths=CLASSIFICATION.read_truths,
    drift=Drift(METRICS, estimate),
    whole=_whole,
)
