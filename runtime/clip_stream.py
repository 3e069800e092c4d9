"""A long video, classified again and again by its last frames."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from runtime.clips import Clips
from runtime.pixels import Frame

if TYPE_CHECKING:
    from runtime.engine import Engine
    from runtime.tasks import Prediction


class ClipStream:
    """Says every so many frames what happens in the last ones; each frame is looked at once.

    A frame goes through the model's part "frame" alone when it comes; its features stay, as many
    as a clip has frames. The part "temporal" makes a prediction of these: the one that the engine
    makes of the clip of those frames, whose positions begin anew with each clip. Frames are to be
    as far apart as those of the clips that the model was trained on.

        with Engine.load("engines/built/vtn_tiny_shapes-int8-cpu") as engine:
            stream = ClipStream(engine, stride=4)
            for frame in frames:
                prediction = stream.push(frame)

    A stream is one video's and for one thread; the engine may serve many at once.
    """

    def __init__(self, engine: Engine, stride: int = 1) -> None:
        """Begin without frames.

        Args:
            engine: of clips, with the parts "frame" and "temporal"; it stays the caller's.
            stride: frames from one prediction to the next.

        Raises:
            ValueError: another stride than an integer of at least 1, or an engine of anything else.
            EngineError: as `Engine.part`.
        """
        if type(stride) is not int or stride < 1:
            raise ValueError(f"stride is {stride!r}; give an integer of at least 1, in frames")
        preprocess = engine.manifest.preprocess
        if not isinstance(preprocess, Clips):
            raise ValueError(
                f"the engine takes {preprocess.kind}, expected clips; give one that does, "
                "such as that of vtn_tiny_shapes"
            )
        self._engine, self._stride = engine, stride
        self._seen_by = engine.part("frame")
        self._features: deque[npt.NDArray[np.float32]] = deque(maxlen=preprocess.length)
        self._missing = preprocess.length

    def push(self, frame: Frame, *, pixels: str = "RGB") -> Prediction | None:
        """Take the next frame.

        Args:
            frame: uint8 (H, W, 3), or as `pixels` says.
            pixels: its layout: "RGB", "BGR", "GREY" or "NV12".

        Returns:
            The prediction for the last frames of a clip's length, or None while there are fewer
            and between predictions.

        Raises:
            ValueError, TypeError: not a frame; it leaves the stream as it was.
            EngineError: as `Engine.infer`.
        """
        looking, deciding = self._parts()
        if looking is not self._seen_by:  # reloaded: features of two models do not go together
            self.clear()
            self._seen_by = looking
        try:
            return self._push(looking, deciding, frame, pixels)
        except ValueError:
            if self._engine.part("frame") is looking:
                raise
        return self.push(frame, pixels=pixels)  # a reload has closed them in the midst of it

    def _parts(self) -> tuple[Engine, Engine]:
        """Those that look at frames and that decide, of one bundle."""
        while True:
            looking, deciding = (self._engine.part(name) for name in ("frame", "temporal"))
            if self._engine.part("frame") is looking:
                return looking, deciding

    def _push(
        self, looking: Engine, deciding: Engine, frame: Frame, pixels: str
    ) -> Prediction | None:
        batch = looking.manifest.preprocess([frame], pixels=pixels)
        self._features.append(looking.infer(batch.inputs["pixel_values"])["features"][0])
        self._missing -= 1
        if self._missing:
            return None
        self._missing = self._stride
        (prediction,) = deciding([{"features": np.stack(self._features)}])
        return prediction

    def clear(self) -> None:
        """Forget the frames so far, as where another video begins."""
        self._features.clear()
        assert self._features.maxlen is not None
        self._missing = self._features.maxlen
