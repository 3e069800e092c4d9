"""Samples of a DALL·E's parts, made of captions and the pictures that they caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from export.samples import Sample
from runtime import EngineError
from runtime.pixels import Frame
from runtime.preprocess import Preprocess

if TYPE_CHECKING:
    from export.weights import Reference

# Multiples of it fall evenly into 0..1, whatever their number (Weyl's sequence).
_GOLDEN = (5**0.5 - 1) / 2


def pictures(size: int) -> Preprocess:
    """What the encoder sees: a square, in 0..1."""
    return Preprocess(resize="exact", size=size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@torch.no_grad()
def codes_of(module: Any, frames: Sequence[Frame]) -> npt.NDArray[np.int64]:
    """The codes (N, grid²) of pictures (H, W, 3), by the module's own encoder."""
    inputs = pictures(module.config.images.image_size)(list(frames)).inputs
    logits = module.dvae.encoder(torch.from_numpy(inputs["pixel_values"]))
    found: npt.NDArray[np.int64] = logits.argmax(dim=1).flatten(1).numpy()
    return found


@dataclass(frozen=True)
class _Picture:
    frame: Frame

    def __call__(self) -> Frame:
        return self.frame


@dataclass(frozen=True)
class _Codes:
    module: Any
    frame: Frame

    def __call__(self) -> dict[str, npt.NDArray[Any]]:
        return {"codes": codes_of(self.module, [self.frame])[0]}


@dataclass(frozen=True)
class _Place:
    """Makes the inputs of one place when asked to, as caches are large."""

    reference: Reference
    sample: Sample
    place: int

    def __call__(self) -> dict[str, npt.NDArray[Any]]:
        module: Any = self.reference.module
        texts = self.reference.preprocess([self.sample.read()]).inputs["input_ids"]
        codes = torch.from_numpy(codes_of(module, [_picture(self.sample)]))
        before = codes[:, : self.place - 1]
        with torch.inference_mode():
            tokens = module.text_tokens(torch.from_numpy(texts))
            more = module.code_tokens(before, torch.arange(before.shape[1]))
            cache = module.seen(torch.cat([tokens, more], dim=1))[1][0].numpy()
        return {
            "input_ids": codes[0, self.place - 1 : self.place].numpy(),
            "position": np.array(module.config.text_length + self.place - 1, np.int64),
            "cache": np.ascontiguousarray(cache),
        }


def _picture(sample: Sample) -> Frame:
    """Of a text, which the dVAE's parts need.

    Raises:
        EngineError: there is none.
    """
    if sample.label is None:
        raise EngineError(
            f"{sample.name} has no picture; put the one that it describes beside it, as a file of "
            "the same name that ends in .png"
        )
    found: Frame = sample.label
    return found


def encoder_samples(reference: Reference, samples: Sequence[Sample]) -> list[Sample]:
    """The pictures."""
    return [Sample(sample.name, _Picture(_picture(sample))) for sample in samples]


def decoder_samples(reference: Reference, samples: Sequence[Sample]) -> list[Sample]:
    """The codes of the pictures; the truth is the picture, as large as the decoder's."""
    module: Any = reference.module
    resized = pictures(module.config.images.image_size)
    return [
        Sample(
            sample.name,
            _Codes(module, _picture(sample)),
            resized.prepare(_picture(sample)).images[0],
        )
        for sample in samples
    ]


def step_samples(reference: Reference, samples: Sequence[Sample]) -> list[Sample]:
    """A code of each picture, the places spread over all but the first; it is the truth."""
    module: Any = reference.module
    count = module.config.images.grid**2 - 1
    found = []
    for index, sample in enumerate(samples):
        place = 1 + int(index * _GOLDEN % 1 * count)
        truth = int(codes_of(module, [_picture(sample)])[0, place])
        name = f"{sample.name}, code {place}"
        found.append(Sample(name, _Place(reference, sample, place), truth))
    return found
