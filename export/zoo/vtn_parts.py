"""What the two parts of a VTN are measured on: frames of clips, and the features of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from export.samples import Sample
from runtime.clips import Clips

if TYPE_CHECKING:
    from export.weights import Reference


def frame_samples(reference: Reference, samples: Sequence[Sample]) -> list[Sample]:
    """One frame of each clip, another one of each."""

    def sample(number: int, whole: Sample) -> Sample:
        def read() -> Any:
            clip, preprocess = whole.read(), reference.preprocess
            assert isinstance(preprocess, Clips)
            return clip[preprocess.chosen(len(clip))[number % preprocess.length]]

        return Sample(f"{whole.name}, a frame", read)

    return [sample(number, whole) for number, whole in enumerate(samples)]


def feature_samples(reference: Reference, samples: Sequence[Sample]) -> list[Sample]:
    """The features that PyTorch's backbone makes of each clip, float32 (T, C)."""

    @torch.no_grad()
    def features(whole: Sample) -> dict[str, Any]:
        (clip,) = reference.preprocess([whole.read()]).inputs["pixel_values"]
        spatial: Any = reference.module.spatial
        return {"features": spatial(torch.from_numpy(clip))["features"].numpy()}

    def sample(whole: Sample) -> Sample:
        return Sample(f"{whole.name}, features", lambda: features(whole), whole.label)

    return [sample(whole) for whole in samples]
