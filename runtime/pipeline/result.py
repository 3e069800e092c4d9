"""What a pipeline gives for a frame."""

from __future__ import annotations

import dataclasses

from runtime.preprocess import Frame
from runtime.tasks import Prediction


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """The prediction for one frame of one source.

    Attributes:
        source: its name.
        frame_id: counts every frame that the source delivered, from 0; a gap is frames that were
            dropped for newer ones, or were corrupt.
        captured: when the frame came, in seconds since the epoch.
        latency_ms: from then until its prediction.
        prediction: as `Engine` gives it; boxes are in pixels of `frame`.
        frame: as the source delivered it, in the format `pixels`.
    """

    source: str
    frame_id: int
    captured: float
    latency_ms: float
    prediction: Prediction
    frame: Frame
    pixels: str
