"""Codes: what stands in the cells of an image, of a frame that is there or of a text.

A frame's are read all at once. A text gives the first; the others follow one after another, by the
graph "step".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.batch import Batch
from runtime.drift.codes import METRICS, CodeAnswer, estimate
from runtime.generation import GREEDY, Sampling, continued
from runtime.images import read_image
from runtime.tasks.scores import softmax
from runtime.tasks.task import Answer, Drift, Entry, Graph, Outputs, Prediction, Task


@dataclasses.dataclass(frozen=True, eq=False)
class Codes(Prediction):
    """What a model makes of one frame, or of one text.

    Attributes:
        codes: int64, the most probable code of each cell, (h, w); of a text that of the first
            cell, ().
        score: in 0..1, their mean probability.
    """

    codes: npt.NDArray[np.int64]
    score: float

    def entries(self) -> list[Entry]:
        """The code, or how many there are."""
        count = self.codes.size
        return [Entry(f"{count} codes" if self.codes.ndim else f"code {self.codes}", self.score)]

    def as_json(self) -> dict[str, Any]:
        """The codes, and how sure they are."""
        return {"codes": self.codes.tolist(), "score": self.score}


def codes_after(
    texts: npt.NDArray[np.int64],
    outputs: Outputs,
    step: Graph,
    sampling: Sampling = GREEDY,
    sequences: Sequence[int] | None = None,
) -> npt.NDArray[np.int64]:
    """All codes of an image for each text, (B, n).

    Args:
        texts: (B, length) tokens.
        outputs: what the model's own graph made of them: `logits` (B, codes) of the first code,
            and `cache` (B, 2 layers, heads, length + n - 1, d), filled up to it.
        step: the graph of one more code.
        sampling: how codes are chosen.
        sequences: see `runtime.generation.continued`.
    """
    cache, last = outputs["cache"], texts.shape[1] - 1
    count = cache.shape[3] - last
    return continued(step.run, outputs["logits"], cache, last, count, sampling, sequences)


def read_drawings(folder: Path) -> dict[str, Any]:
    """The picture of each text NAME.txt of a folder, from NAME.png; (H, W, 3) by the text's name.

    Raises:
        EngineError: a picture cannot be read; the message names it.
    """
    texts = ((text, text.with_suffix(".png")) for text in sorted(folder.glob("*.txt")))
    return {text.name: read_image(picture) for text, picture in texts if picture.is_file()}


def _predict(
    outputs: Outputs, batch: Batch, labels: Sequence[str], threshold: float
) -> list[Codes]:
    found = []
    for row in outputs["logits"]:
        with np.errstate(invalid="ignore"):  # of infinity less infinity
            probabilities = softmax(np.moveaxis(row, 0, -1)).max(axis=-1)
        score = float(np.nan_to_num(probabilities).mean())
        found.append(Codes(np.asarray(row.argmax(axis=0), np.int64), score))
    return found


def _drawn(step: Graph | None, outputs: Outputs, batch: Batch) -> Outputs:
    """Without the cache, which is large, but with the codes of a whole image."""
    logits = outputs["logits"]
    if step is not None:
        codes = codes_after(batch.inputs["input_ids"], outputs, step)
    else:
        codes = logits.argmax(axis=1).reshape(len(logits), -1)
    return {"logits": logits, "codes": codes}


def _comparable(answer: Answer, labels: Sequence[str]) -> CodeAnswer:
    logits = np.asarray(answer.outputs["logits"][0], np.float32).ravel()
    return CodeAnswer(answer.outputs["codes"][0], logits)


TASK = Task(
    outputs=("logits",),
    predict=_predict,
    comparable=_comparable,
    decisions=lambda outputs: np.asarray(outputs["logits"].argmax(axis=0), np.int64).ravel(),
    read_truths=read_drawings,
    drift=Drift(METRICS, estimate),
    whole=lambda parts, labels: partial(_drawn, parts.get("step")),
)
