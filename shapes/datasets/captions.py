"""One figure of a named colour and size a frame, and what can be said of it.

Colours are named by the corner of the colour cube that they are near to, so that exchanging
channels, or inverting them, makes another picture of which other words are true.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shapes.datasets.classification import write_labels
from shapes.datasets.dataset import Dataset, Rendered
from shapes.figures import NAMES
from shapes.scene import portrait

COLOURS = ("black", "blue", "green", "cyan", "red", "magenta", "yellow", "white")
"""Of corner 4 r + 2 g + b of the colour cube."""
CAPTIONED_CLASSES = tuple(
    f"{colour} {name.replace('_', ' ')}" for colour, name in itertools.product(COLOURS, NAMES)
)
"""Names of the classes of zero-shot classification: colour x shape."""

_STREAM = 8
_SIZES = {"small": (0.25, 0.30), "large": (0.36, 0.42)}  # radius as a share of the frame's side
_NEAR = 0.25  # of a corner, in each channel; another corner is 0.5 farther
_OPENINGS = ("a photo of a", "a picture of a", "there is a", "this is a", "a", "the", "one")


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is true of a picture; or what of it is said, and None of what is not."""

    shape: int
    colour: int
    size: str | None = None
    background: int | None = None


class Captioned(NamedTuple):
    """A frame, uint8 (64, 64, 3) RGB, the truth about it, and its figure's mask (64, 64)."""

    frame: NDArray[np.uint8]
    facts: Facts
    mask: NDArray[np.bool_]


def captioned_image(seed: int, index: int) -> Captioned:
    """Renders image `index` of the caption set `seed`; every caption of `Facts` is true of it."""
    rng = np.random.default_rng((seed, _STREAM, index))
    colour, background = rng.choice(len(COLOURS), 2, replace=False).tolist()
    shape, size = int(rng.integers(len(NAMES))), str(rng.choice(tuple(_SIZES)))
    back, front = _tones(rng, background), _tones(rng, colour)
    frame, _, mask = portrait(rng, shape, back, front, _SIZES[size])
    return Captioned(frame, Facts(shape, colour, size, background), mask)


def said(rng: np.random.Generator, facts: Facts) -> Facts:
    """Shape and colour, and by chance size and background."""
    return dataclasses.replace(
        facts,
        size=facts.size if rng.integers(2) else None,
        background=facts.background if rng.integers(2) else None,
    )


def caption(rng: np.random.Generator, facts: Facts) -> str:
    """One of the ways to say it."""
    return f"{rng.choice(_OPENINGS)} {_phrase(facts)}"


def every_caption() -> Iterator[str]:
    """All captions that there are, each once; small ones, then large ones, of each colour."""
    backgrounds = (None, *range(len(COLOURS)))
    for opening, colour, shape, size, back in itertools.product(
        _OPENINGS, range(len(COLOURS)), range(len(NAMES)), (None, *_SIZES), backgrounds
    ):
        if back != colour:
            yield f"{opening} {_phrase(Facts(shape, colour, size, back))}"


def class_of(facts: Facts) -> int:
    """Index into `CAPTIONED_CLASSES`."""
    return facts.colour * len(NAMES) + facts.shape


def corner(colour: int) -> NDArray[np.float64]:
    """Of the colour cube, (3,) of 0 and 1: red, green and blue of an index into `COLOURS`."""
    return np.array([colour >> 2 & 1, colour >> 1 & 1, colour & 1], np.float64)


def _phrase(facts: Facts) -> str:
    words = [CAPTIONED_CLASSES[class_of(facts)]]
    if facts.size is not None:
        words.insert(0, facts.size)
    if facts.background is not None:
        words.append(f"on a {COLOURS[facts.background]} background")
    return " ".join(words)


def _tones(rng: np.random.Generator, colour: int) -> NDArray[np.float64]:
    """Two tones of a colour, (2, 3) in 0..1."""
    away = rng.uniform(0, _NEAR, (2, 3))
    return abs(corner(colour) - away)


def _image(seed: int, index: int) -> Rendered:
    frame, facts, _ = captioned_image(seed, index)
    return Rendered(frame, class_of(facts))


def _write(folder: Path, truths: Mapping[str, Any]) -> None:
    write_labels(folder, truths, CAPTIONED_CLASSES)


DATASET = Dataset(_image, _write)
