"""One person a frame: where head, hands, hips and feet are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shapes import paint
from shapes.datasets.dataset import Dataset, Rendered, write_records
from shapes.figures import NAMES, outline
from shapes.person import posed

FRAME = (96, 72)
"""Height and width of a frame in pixels."""

_STREAM = 3
_CLUTTER, _CLUTTER_RADIUS = 3, (4.0, 10.0)  # figures behind the person, at most; in pixels
_CLEAR = 4.0  # pixels between a landmark and a figure in front of the person
_TRIES = 8


class Posed(NamedTuple):
    """A frame, uint8 (96, 72, 3) RGB, and its landmarks, float32 (6, 2), x and y in pixels."""

    frame: NDArray[np.uint8]
    landmarks: NDArray[np.float32]


def keypoint_image(seed: int, index: int) -> Posed:
    """Renders image `index` of the keypoint set `seed`; every landmark is visible."""
    rng = np.random.default_rng((seed, _STREAM, index))
    height, width = FRAME
    back, skin = paint.palette(rng)
    clothes = paint.figure_colors(rng, np.concatenate([back, skin]))
    canvas = np.array(paint.background(rng, back, height, width))
    for _ in range(int(rng.integers(_CLUTTER + 1))):
        _paint(rng, canvas, [_figure(rng)], paint.figure_colors(rng, back))
    person = posed(rng, height, width)
    _paint(rng, canvas, person.legs, skin)
    _paint(rng, canvas, [person.trunk], clothes)
    _paint(rng, canvas, [*person.arms, person.head], skin)
    for _ in range(_TRIES):
        figure = _figure(rng)
        if _clear(figure, person.landmarks):
            _paint(rng, canvas, [figure], paint.figure_colors(rng, back))
            break
    return Posed(paint.finish(rng, canvas), person.landmarks.astype(np.float32))


def _figure(rng: np.random.Generator) -> NDArray[np.float64]:
    """The outline of a small figure somewhere in the frame, perhaps partly outside."""
    height, width = FRAME
    centre = rng.uniform(0, 1, 2) * [width, height]
    return rng.uniform(*_CLUTTER_RADIUS) * outline(NAMES[rng.integers(len(NAMES))]) + centre


def _clear(figure: NDArray[np.float64], landmarks: NDArray[np.float64]) -> bool:
    """Whether a figure's bounds leave a margin around every landmark."""
    low, high = figure.min(axis=0) - _CLEAR, figure.max(axis=0) + _CLEAR
    return not ((landmarks > low) & (landmarks < high)).all(axis=1).any()


def _paint(
    rng: np.random.Generator,
    canvas: paint.Pixels,
    outlines: Sequence[NDArray[np.float64]],
    colors: NDArray[np.float64],
) -> None:
    """Paints outlines, as one textured figure, onto `canvas` (H, W, 3), in place."""
    height, width = canvas.shape[:2]
    points = np.concatenate(outlines)
    left, top = np.floor(points.min(axis=0)).astype(int).clip(0)
    right, bottom = np.minimum(np.ceil(points.max(axis=0)).astype(int), (width, height))
    if right <= left or bottom <= top:
        return
    high, wide = bottom - top, right - left
    covers = [paint.coverage(outline - [left, top], high, wide) for outline in outlines]
    alpha = np.maximum.reduce(covers)[..., None]
    window = canvas[top:bottom, left:right]
    window += alpha * (paint.texture(rng, colors, high, wide) - window)


def _write(folder: Path, truths: Mapping[str, Any]) -> None:
    """Writes keypoints.json: [{"file": ..., "keypoints": [[x, y], ...]}, ...]."""
    records = (
        {"file": file, "keypoints": np.round(points.astype(float), 3).tolist()}
        for file, points in truths.items()
    )
    write_records(folder / "keypoints.json", records)


DATASET = Dataset(lambda seed, index: Rendered(*keypoint_image(seed, index)), _write)
