"""Samples of iGPT's graph of one pixel: a place in an image, with what came before it cached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from export.samples import Sample

if TYPE_CHECKING:
    from export.weights import Reference

# Multiples of it fall evenly into 0..1, whatever their number (Weyl's sequence).
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class _Place:
    """Makes the inputs of one place when asked to, as caches are large."""

    reference: Reference
    sample: Sample
    place: int

    @property
    def tokens(self) -> npt.NDArray[np.int64]:
        found: npt.NDArray[np.int64] = self.reference.preprocess.prepare(self.sample.read()).images
        return found

    def __call__(self) -> dict[str, npt.NDArray[Any]]:
        module: Any = self.reference.module
        tokens = torch.from_numpy(self.tokens)
        with torch.inference_mode():
            cache = module(input_ids=tokens)["cache"][0].numpy()
        before = self.tokens[0, self.place - 1] if self.place else module.config.clusters
        # One place at least, as no array may be empty; what is not before `position` is not read.
        return {
            "input_ids": np.array([before], np.int64),
            "position": np.array(self.place, np.int64),
            "cache": np.ascontiguousarray(cache[:, :, : max(self.place, 1)]),
        }


def step_samples(reference: Reference, samples: Sequence[Sample]) -> list[Sample]:
    """One of each image, the places spread over all; the truth is the pixel that is there."""
    module: Any = reference.module
    count = module.config.positions
    found = []
    for index, sample in enumerate(samples):
        place = _Place(reference, sample, int(index * _GOLDEN % 1 * count))
        found.append(Sample(f"{sample.name}, pixel {place.place}", place, _truth(place)))
    return found


def _truth(place: _Place) -> int:
    return int(place.tokens[0, place.place])
