"""A caption, and a drawing of which it is true: one figure of a named colour.

A drawing has flat colours, no noise, and its figure in the middle: what a small model can learn to
draw in the time that a small model has. What the caption leaves open has a usual answer, so that a
model's most probable drawing is one of them and not a matter of rounding: most figures are upright,
and the background is white unless it is said (black behind a white figure).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shapes import paint
from shapes.datasets.captions import COLOURS, Facts, caption, corner, said
from shapes.datasets.dataset import Dataset, Rendered
from shapes.figures import NAMES, outline, turned
from shapes.scene import FRAME_SIDE

_STREAM = 9
_RADIUS = 0.34  # as a share of the frame's side
_UPRIGHT, _TILT = 0.7, np.pi / 9  # share of the drawings, and the angle of others at most
_BLACK, _WHITE = COLOURS.index("black"), COLOURS.index("white")
_DIMMED = 0.15  # a colour is that far from its corner of the colour cube, in each channel


class Drawing(NamedTuple):
    """A caption, the frame uint8 (64, 64, 3) RGB, and what is true of it."""

    text: str
    frame: NDArray[np.uint8]
    facts: Facts


def drawing(seed: int, index: int) -> Drawing:
    """Drawing `index` of the set `seed`."""
    rng = np.random.default_rng((seed, _STREAM, index))
    colour, other = rng.choice(len(COLOURS), 2, replace=False).tolist()
    facts = Facts(int(rng.integers(len(NAMES))), colour, background=other)
    told = said(rng, facts)
    if told.background is None:
        facts = replace(facts, background=_BLACK if colour == _WHITE else _WHITE)
    angle = rng.uniform(-_TILT, _TILT) if rng.uniform() > _UPRIGHT else 0.0
    return Drawing(caption(rng, told), _painted(facts, angle), facts)


def drawings(seed: int, count: int) -> list[Drawing]:
    """The first `count` drawings of a set."""
    return [drawing(seed, index) for index in range(count)]


def _painted(facts: Facts, angle: float) -> NDArray[np.uint8]:
    assert facts.background is not None
    side = FRAME_SIDE
    points = side * (0.5 + _RADIUS * turned(outline(NAMES[facts.shape]), angle))
    alpha = paint.coverage(points, side, side)[..., None]
    back, front = (abs(corner(number) - _DIMMED) for number in (facts.background, facts.colour))
    return paint.quantised(np.asarray(back + alpha * (front - back), np.float32))


def _image(seed: int, index: int) -> Rendered:
    text, frame, _ = drawing(seed, index)
    return Rendered(text, frame)


def _write(folder: Path, truths: Mapping[str, Any]) -> None:
    """The drawings, beside their captions."""
    for name, frame in truths.items():
        Image.fromarray(frame).save((folder / name).with_suffix(".png"))


DATASET = Dataset(_image, _write)
