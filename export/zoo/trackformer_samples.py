"""Frames as a tracker meets them: with the track queries of the frames before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from export.answers import torch_run
from export.samples import Sample
from runtime.tasks.tracking import TASK
from runtime.track_queries import State, advance

if TYPE_CHECKING:
    from export.weights import Reference


@dataclass(frozen=True)
class _Met:
    """Follows a clip up to a frame when asked to, and gives that with what is followed there."""

    reference: Reference
    sample: Sample
    place: int

    def __call__(self) -> Any:
        frame = self._frames()[-1]
        if not len(self._queries):
            return frame
        return {"frame": frame, "track_queries": self._queries}

    def _frames(self) -> Any:
        """Up to that frame."""
        frames = self.sample.read()
        if frames.ndim == 3:
            frames = np.stack([frames] * 2)
        return frames[: self.place % len(frames) + 1]

    @cached_property
    def _queries(self) -> Any:
        """What is followed before it, kept as calibration reads a sample many times."""
        run = torch_run(self.reference.module, TASK.outputs)
        preprocess: Any = self.reference.preprocess
        state = State.of(np.zeros((0, preprocess.width), np.float32))
        for frame in self._frames()[:-1]:
            pixels = preprocess([frame]).inputs["pixel_values"]
            inputs = {"pixel_values": pixels, **state.inputs(preprocess.queries)}
            mine = {name: output[0] for name, output in run(inputs).items()}
            state, _ = advance(state, preprocess.queries, mine)
        return state.queries


def with_tracks(reference: Reference, samples: Sequence[Sample]) -> list[Sample]:
    """One frame of each clip, with what PyTorch follows there; a single frame is shown twice.

    The second frame of the first clip, the third of the second and so on, and around again: there
    are frames without a track, with some, and with lost ones.
    """
    return [
        Sample(f"{sample.name}, frame {place}", _Met(reference, sample, place))
        for place, sample in enumerate(samples, start=1)
    ]
