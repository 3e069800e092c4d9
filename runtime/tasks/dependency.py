"""What a keypoint depends on: a row of the encoder's attention, computed when it is asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.tasks.scores import softmax


@dataclass(frozen=True, eq=False)
class Dependency:
    """Queries of the keypoints and keys of every token, of one image.

    Attributes:
        queries: (heads, K, size), of the tokens in which the heatmaps are highest.
        keys: (heads, h * w, size).
        grid: h and w, of the tokens.
    """

    queries: npt.NDArray[Any]
    keys: npt.NDArray[Any]
    grid: tuple[int, int]

    @classmethod
    def at(cls, outputs: Mapping[str, npt.NDArray[Any]]) -> Dependency | None:
        """From one image's `heatmaps`, `queries` and `keys`; None where a model lacks these."""
        if "queries" not in outputs or "keys" not in outputs:
            return None
        heatmaps, queries, keys = (outputs[name] for name in ("heatmaps", "queries", "keys"))
        count, height, width = heatmaps.shape
        cells = math.isqrt(height * width // keys.shape[1])  # on a side of a token
        best = heatmaps.reshape(count, -1).argmax(1)
        wide = width // cells
        tokens = best // width // cells * wide + best % width // cells
        return cls(queries[:, tokens], keys, (height // cells, wide))

    def of(self, index: int) -> npt.NDArray[np.float32]:
        """softmax(q kᵀ / √size) of keypoint `index`, averaged over heads: float32 (h, w)."""
        keys = self.keys.astype(np.float32)
        queries = self.queries[:, index, :, None].astype(np.float32)
        weights = softmax((keys @ queries)[..., 0] * keys.shape[-1] ** -0.5)
        return np.asarray(weights.mean(0).reshape(self.grid))
