"""Frames whose lower part a model makes up, pixel by pixel, from the upper one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from runtime.colours import Colours
from runtime.engine_parts import graph_of
from runtime.errors import EngineError
from runtime.generation import GREEDY, Sampling, continued
from runtime.pixels import Frame

if TYPE_CHECKING:
    from runtime.engine import Engine

_AT_ONCE = 8  # frames: each has a cache of its own


def complete(
    engine: Engine,
    frames: Sequence[Frame],
    *,
    known: float = 0.5,
    sampling: Sampling = GREEDY,
    pixels: str = "RGB",
) -> list[Frame]:
    """Completes frames from their upper rows.

    Args:
        engine: of an autoregressive model of pixels, with its part "step".
        frames: uint8 (H, W, 3), of any sizes; resized as the model sees them.
        known: the share of the rows that is kept, from the top, in 0..1; 0 makes up all of it.
        sampling: how pixels are chosen; the draws for a frame depend on its number in `frames`.
        pixels: the frames' layout (`runtime.pixels`).

    Returns:
        uint8 (size, size, 3), in the colours of the palette.

    Raises:
        ValueError, TypeError: something is not a frame, or not a share.
        EngineError: the model is no such model, or a back end fails.
    """
    colours = engine.manifest.preprocess
    if not isinstance(colours, Colours):
        raise EngineError(
            f"{engine.manifest.model} takes {colours.kind}, expected a model of pixels as colours; "
            "load another bundle"
        )
    if not 0 <= known <= 1:
        raise ValueError(f"known is {known!r}; give a share of the rows in 0..1")
    colours.check(frames, pixels)
    first = round(known * colours.size) * colours.size
    graph, step = graph_of(engine), graph_of(engine.part("step"))
    found: list[Frame] = []
    for start in range(0, len(frames), _AT_ONCE):
        tokens = colours(frames[start : start + _AT_ONCE], pixels=pixels).inputs["input_ids"]
        if missing := tokens.shape[1] - first:
            outputs = graph.run({"input_ids": tokens})
            numbers = range(start, start + len(tokens))
            made = continued(
                step.run, outputs["logits"][:, first], outputs["cache"], first, missing,
                sampling, numbers,
            )  # fmt: skip
            tokens = np.concatenate([tokens[:, :first], made], axis=1)
        found += [colours.picture(row) for row in tokens]
    return found
