"""Does a back end compute what the graph says?

The yardstick is ONNX Runtime with graph optimisations off: it runs the graph as written. A back
end that fuses quantisation wrongly deviates far from it while its answers still look plausible,
so every candidate is compared on real images before it may be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.sign_test import tail

Outputs = Mapping[str, npt.NDArray[Any]]
Decisions = Callable[[Outputs], npt.NDArray[np.int64]]
MIN_COSINE = 0.99
_UNLIKELY = 0.025  # one side of a 95 % interval


@dataclass(frozen=True)
class Faithfulness:
    """How close a back end stays to its graph's own semantics.

    Attributes:
        cosine: mean over images of the lowest cosine among the outputs.
        agreement: share of decisions that equal PyTorch's.
        semantics_agreement: the same for the graph as written.
        lost: decisions of the graph as written that equal PyTorch's, and the back end's do not.
        won: the other way round.
    """

    cosine: float
    agreement: float
    semantics_agreement: float
    lost: int
    won: int

    @property
    def chance(self) -> float:
        """With what probability rounding alone, which loses as often as it wins, loses so many or
        more of the decisions in which the two differ (exact test of McNemar 1947).
        """
        return tail(self.lost, self.lost + self.won)

    @property
    def obstacle(self) -> str:
        """Why the back end is refused; empty when it is faithful."""
        if not self.cosine >= MIN_COSINE:
            return f"cosine {self.cosine:.4f} to the graph's own semantics, below {MIN_COSINE}"
        if self.chance < _UNLIKELY:
            return (
                f"agrees with PyTorch on {self.agreement:.1%}, the graph as written on "
                f"{self.semantics_agreement:.1%}: {self.lost} decisions lost and {self.won} won"
            )
        return ""


def compare(
    engine: Sequence[Outputs],
    semantics: Sequence[Outputs],
    reference: Sequence[Outputs],
    decisions: Decisions,
) -> Faithfulness:
    """Compares per-image outputs of an engine, of its graph as written, and of PyTorch.

    Args:
        engine: one mapping an image: output name -> array without the batch axis.
        semantics: the same images through ONNX Runtime, optimisations off.
        reference: the same images through PyTorch.
        decisions: what a user would act on, of one image's outputs; at least one.
    """
    cosines = [
        min(_cosine(ours[name], theirs[name]) for name in theirs)
        for ours, theirs in zip(engine, semantics, strict=True)
    ]
    truth, ours, theirs = (
        np.concatenate([decisions(image) for image in images])
        for images in (reference, engine, semantics)
    )
    ours, theirs = ours == truth, theirs == truth
    lost, won = int((theirs & ~ours).sum()), int((ours & ~theirs).sum())
    return Faithfulness(
        float(np.mean(cosines)),
        float(ours.mean()),
        float(theirs.mean()),
        lost,
        won,
    )


def _cosine(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> float:
    """Cosine in float64; NaN, which no limit accepts, where something is not finite."""
    a, b = left.astype(np.float64).ravel(), right.astype(np.float64).ravel()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else float(not a.any() and not b.any())
