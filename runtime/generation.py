"""One token after another, by a graph that sees the earlier ones as cached keys and values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]
Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen by its logits.

    Attributes:
        temperature: by which logits are divided; 0 takes the most probable token.
        top_k: of how many most probable tokens one is drawn; None of all.
        seed: of the draws. Every sequence has draws of its own, by its number.

    Raises:
        ValueError: a field that makes no sense.
    """

    temperature: float = 1.0
    top_k: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every field."""
        if not 0 <= self.temperature < np.inf:
            raise ValueError(f"temperature is {self.temperature!r}; give 0 or more")
        if self.top_k is not None and (type(self.top_k) is not int or self.top_k < 1):
            raise ValueError(f"top_k is {self.top_k!r}; give an integer of at least 1, or None")
        if type(self.seed) is not int or self.seed < 0:
            raise ValueError(f"seed is {self.seed!r}; give an integer of at least 0")

    def chosen(self, logits: npt.NDArray[Any], random: np.random.Generator) -> int:
        """A token by logits (V,): the greatest after Gumbel noise, which draws from the softmax."""
        if self.temperature == 0:
            return int(logits.argmax())
        values = logits.astype(np.float64) / self.temperature
        values += random.gumbel(size=values.size)
        if self.top_k is not None:
            values[np.argsort(-logits, kind="stable")[self.top_k :]] = -np.inf
        return int(values.argmax())


GREEDY = Sampling(temperature=0.0)


def continued(
    step: Callable[[Arrays], Arrays],
    logits: npt.NDArray[Any],
    cache: npt.NDArray[Any],
    position: int,
    count: int,
    sampling: Sampling = GREEDY,
    sequences: Sequence[int] | None = None,
) -> Tokens:
    """Continues sequences, all from the same position on.

    Args:
        step: the graph of one token: `input_ids` int64 (B, 1), the token before `position` int64
            (B,), and `cache` -> `logits` (B, V) of the token there, and `news` (B, 2 layers,
            heads, d), which belongs into the cache at `position`.
        logits: (B, V) of the first token to be chosen.
        cache: (B, 2 layers, heads, N, d), right up to `position` and with it.
        position: of the first token to be chosen.
        count: of tokens; the last one is at N - 1 at most.
        sampling: how they are chosen.
        sequences: a number for each, which its draws depend on; None counts from 0.

    Returns:
        int64 (B, count).
    """
    numbers = range(len(logits)) if sequences is None else sequences
    randoms = [np.random.default_rng((sampling.seed, number)) for number in numbers]
    cache = cache.copy()
    found = np.empty((len(logits), count), np.int64)
    for index in range(count):
        if index:
            place = position + index
            places = np.full(len(logits), place, np.int64)
            before = found[:, index - 1 : index]
            outputs = step({"input_ids": before, "position": places, "cache": cache})
            logits, cache[:, :, :, place] = outputs["logits"], outputs["news"]
        rows = zip(logits, randoms, strict=True)
        found[:, index] = [sampling.chosen(row, random) for row, random in rows]
    return found
