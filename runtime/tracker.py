"""A video followed frame by frame: the state that a tracking model's engine does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from runtime.engine_parts import graph_of
from runtime.pixels import Frame
from runtime.tasks.tracks import Tracks, tracks_of
from runtime.track_queries import Rules, State, advance
from runtime.tracked import Tracked

if TYPE_CHECKING:
    from runtime.engine import Engine


class Tracker:
    """Says of each frame of a video which objects it shows, by ids that stay the objects'.

    with Engine.load("engines/built/trackformer_tiny_shapes-int8-cpu") as engine:
        tracker = Tracker(engine)
        for frame in frames:
            tracks = tracker(frame)

    A tracker is one video's and for one thread; the engine may serve many at once.
    """

    def __init__(self, engine: Engine, rules: Rules | None = None) -> None:
        """Begin without tracks.

        Args:
            engine: of a tracking model; it stays the caller's.
            rules: when tracks begin, stay and end; None is `Rules()`.

        Raises:
            ValueError: the engine is of another task.
        """
        preprocess = engine.manifest.preprocess
        if engine.manifest.task != "tracking" or not isinstance(preprocess, Tracked):
            raise ValueError(
                f"the engine is for {engine.manifest.task}, expected one for tracking, "
                "such as trackformer_tiny_shapes; load its bundle"
            )
        self._engine, self._rules = engine, rules or Rules()
        self._seen_by = engine.manifest
        self._state = _begun(preprocess, 0)

    def __call__(self, frame: Frame, *, pixels: str = "RGB") -> Tracks:
        """Take the next frame.

        Args:
            frame: uint8 (H, W, 3), or as `pixels` says.
            pixels: its layout: "RGB", "BGR", "GREY" or "NV12".

        Raises:
            ValueError, TypeError: not a frame; it leaves the tracks as they were.
            EngineError: as `Engine.infer`.
        """
        graph, manifest = graph_of(self._engine), self._engine.manifest
        preprocess = graph.preprocess
        assert isinstance(preprocess, Tracked)
        state = self._state
        if manifest is not self._seen_by:  # reloaded: another model cannot read these queries
            state = _begun(preprocess, state.following)
        # The frame by itself, so that a clip by mistake is refused.
        batch = preprocess.frames([frame], pixels=pixels)
        inputs = {**batch.inputs, **state.inputs(preprocess.queries)}
        outputs = {name: output[0] for name, output in graph.run(inputs).items()}
        self._state, ids = advance(state, preprocess.queries, outputs, self._rules)
        self._seen_by = manifest
        size, region = batch.frame_sizes[0], batch.regions[0]
        return tracks_of(outputs, ids, size, region, manifest.labels)

    def clear(self) -> None:
        """Forget all tracks, as where another video begins; ids go on, none is given twice."""
        preprocess = self._seen_by.preprocess
        assert isinstance(preprocess, Tracked)
        self._state = _begun(preprocess, self._state.following)


def _begun(preprocess: Tracked, following: int) -> State:
    """No tracks, the next of which has that id."""
    none = State.of(np.zeros((0, preprocess.width), np.float32))
    return none._replace(following=following)
