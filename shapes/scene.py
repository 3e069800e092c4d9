"""Scenes: which figures stand where, what of them stays visible, and the painted frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shapes import paint
from shapes.figures import DETECTION_NAMES, NAMES, outline, turned

SIZES = {"small": (0.20, 0.26), "medium": (0.30, 0.40), "large": (0.48, 0.66)}
"""Diameter of a detection figure as a share of the frame's short side, by size name."""

FRAME_SIDE = 64
MAX_FIGURES = 6
_MAX_GROUP = 2
_MAX_CAST = 3
_MIN_VISIBLE = 0.5  # a figure hidden by more than half is often not recognisable
# Figures contrast with the background, not with each other: where much of one lies on another of
# like colours, no model can tell which pixel is whose.
_MIN_VISIBLE_IN_GROUP = 0.75
_PLACEMENT_TRIES = 8
# Classifiers learn figures at any angle too, but not in minutes on two cores.
_PORTRAIT_TILT = np.pi / 9
_ANY_TURN = (0.0, 2 * np.pi)


@dataclass(frozen=True)
class Figure:
    """One figure of a scene.

    Attributes:
        label: index into `NAMES`.
        size: key of `SIZES`.
        points: float64 (P, 2) outline as (x, y) pixels in the frame.
        colors: float64 (2, 3), the two colours of its texture, 0..1.
    """

    label: int
    size: str
    points: NDArray[np.float64]
    colors: NDArray[np.float64]


class Portrait(NamedTuple):
    """A frame with one figure.

    Attributes:
        frame: uint8 (64, 64, 3) RGB.
        label: index into `NAMES`.
        mask: bool (64, 64), the pixels that the figure covers by half or more.
    """

    frame: NDArray[np.uint8]
    label: int
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Annotated:
    """A rendered frame and the truth about it.

    Attributes:
        frame: uint8 (H, W, 3) RGB.
        boxes: float32 (M, 4) xyxy pixels, the bounds of the pixels that show the figure by half
            or more; the right and lower edges are exclusive.
        labels: int64 (M,), indices into `DETECTION_NAMES`.
        figures: the M figures, back to front.
    """

    frame: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    figures: tuple[Figure, ...]


class Cast(NamedTuple):
    """A frame with one to three figures, each of which has its own mask.

    Attributes:
        frame: uint8 (64, 64, 3) RGB.
        masks: bool (M, 64, 64), the pixels that show each figure by half or more.
        labels: int64 (M,), indices into `DETECTION_NAMES`.
    """

    frame: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    labels: NDArray[np.int64]


class Group(NamedTuple):
    """A frame with one or two large figures.

    Attributes:
        frame: uint8 (64, 64, 3) RGB.
        classes: uint8 (64, 64), of what shows most of each pixel: 0 is the background, k + 1 a
            figure of `DETECTION_NAMES[k]`.
    """

    frame: NDArray[np.uint8]
    classes: NDArray[np.uint8]


def single(rng: np.random.Generator) -> Portrait:
    """Renders one nearly upright figure, anywhere on a shaded background of 64 x 64 pixels."""
    label = int(rng.integers(len(NAMES)))
    return portrait(rng, label, *paint.palette(rng), (0.28, 0.42))


def portrait(
    rng: np.random.Generator,
    label: int,
    back: NDArray[np.float64],
    front: NDArray[np.float64],
    radii: tuple[float, float],
) -> Portrait:
    """As `single`, of a given figure.

    Args:
        rng: draws the rest.
        label: index into `NAMES`.
        back: two colours of the background, (2, 3) in 0..1.
        front: two of the figure.
        radii: least and greatest radius as a share of the frame's side.
    """
    side = FRAME_SIDE
    canvas = paint.shading(rng, back, side, side)
    radius = rng.uniform(*radii) * side
    points = _posed(rng, NAMES[label], radius, side, side, turn=(-_PORTRAIT_TILT, _PORTRAIT_TILT))
    alpha = paint.coverage(points, side, side)
    canvas += alpha[..., None] * (paint.texture(rng, front, side, side) - canvas)
    return Portrait(paint.finish(rng, canvas), label, alpha >= 0.5)


def few(rng: np.random.Generator) -> Group:
    """Renders one or two large, nearly upright figures; one may hide a quarter of the other."""
    canvas, layers = _upright(rng, _MAX_GROUP, ("large",))
    shown = np.stack([layer.shown for layer in layers])
    values = np.array([0, *(layer.figure.label + 1 for layer in layers)], np.uint8)
    classes = values[np.concatenate([1 - shown.sum(axis=0, keepdims=True), shown]).argmax(axis=0)]
    return Group(paint.finish(rng, canvas), classes)


def cast(rng: np.random.Generator) -> Cast:
    """Renders one to three nearly upright figures, of any of which at most a quarter is hidden."""
    canvas, layers = _upright(rng, _MAX_CAST, ("medium", "large"))
    masks = np.stack([layer.shown >= 0.5 for layer in layers])
    labels = np.array([layer.figure.label for layer in layers], np.int64)
    return Cast(paint.finish(rng, canvas), masks, labels)


def several(rng: np.random.Generator, *, noise: bool = True) -> Annotated:
    """Renders one to six figures that may hide parts of each other on a ragged frame.

    Args:
        rng: draws everything.
        noise: whether the sensor adds noise; the scene is the same without.
    """
    long = int(rng.integers(96, 161))
    short = round(long * rng.uniform(0.6, 1.0))
    height, width = (long, short) if rng.integers(2) else (short, long)
    back, _ = paint.palette(rng)
    canvas = paint.background(rng, back, height, width)
    layers: list[_Layer] = []
    for _ in range(int(rng.integers(1, MAX_FIGURES + 1))):
        for _ in range(_PLACEMENT_TRIES):
            if _place(rng, _drawn_figure(rng, back, height, width), canvas, layers):
                break
    boxes = np.array([_bounds(layer.shown) for layer in layers], dtype=np.float32)
    labels = np.array([layer.figure.label for layer in layers], dtype=np.int64)
    figures = tuple(layer.figure for layer in layers)
    frame = paint.finish(rng, canvas) if noise else paint.quantised(canvas)
    return Annotated(frame, boxes, labels, figures)


@dataclass(frozen=True)
class _Layer:
    """A painted figure, its share of every pixel's colour (H, W), and its unoccluded area."""

    figure: Figure
    shown: paint.Pixels
    area: float


def _upright(
    rng: np.random.Generator, most: int, sizes: tuple[str, ...]
) -> tuple[paint.Pixels, list[_Layer]]:
    """Paints at most `most` nearly upright figures on a shaded background of 64 x 64 pixels."""
    side = FRAME_SIDE
    back, _ = paint.palette(rng)
    canvas = paint.shading(rng, back, side, side)
    layers: list[_Layer] = []
    for _ in range(int(rng.integers(1, most + 1))):
        for _ in range(_PLACEMENT_TRIES):
            figure = _drawn_figure(rng, back, side, side, sizes, (-_PORTRAIT_TILT, _PORTRAIT_TILT))
            if _place(rng, figure, canvas, layers, _MIN_VISIBLE_IN_GROUP):
                break
    return canvas, layers


def _drawn_figure(
    rng: np.random.Generator,
    back: NDArray[np.float64],
    height: int,
    width: int,
    sizes: tuple[str, ...] = tuple(SIZES),
    turn: tuple[float, float] = _ANY_TURN,
) -> Figure:
    label = int(rng.integers(len(DETECTION_NAMES)))
    size = sizes[rng.integers(len(sizes))]
    radius = 0.5 * rng.uniform(*SIZES[size]) * min(height, width)
    points = _posed(rng, DETECTION_NAMES[label], radius, height, width, turn)
    return Figure(label, size, points, paint.figure_colors(rng, back))


def _posed(
    rng: np.random.Generator,
    name: str,
    radius: float,
    height: int,
    width: int,
    turn: tuple[float, float],
) -> NDArray[np.float64]:
    """Turns by an angle from `turn` (radians), mirrors, scales and moves within the frame."""
    angle = rng.uniform(*turn)
    mirror = rng.choice((-1.0, 1.0))
    points = turned(outline(name) * [1.0, mirror], angle) * radius
    low = 1 - points.min(axis=0)
    high = np.array([width, height]) - 1 - points.max(axis=0)
    posed: NDArray[np.float64] = points + rng.uniform(low, high)
    return posed


def _place(
    rng: np.random.Generator,
    figure: Figure,
    canvas: paint.Pixels,
    layers: list[_Layer],
    least: float = _MIN_VISIBLE,
) -> bool:
    """Paints a figure over the scene unless less than `least` of an earlier one would stay visible.

    `canvas` (H, W, 3) and `layers` are updated in place when it does not.
    """
    left, top = np.floor(figure.points.min(axis=0)).astype(int)
    right, bottom = np.ceil(figure.points.max(axis=0)).astype(int)
    window = np.s_[top:bottom, left:right]
    alpha = paint.coverage(figure.points - [left, top], bottom - top, right - left)
    for layer in layers:
        hidden = layer.shown[window] * alpha
        if layer.shown.sum() - hidden.sum() < least * layer.area:
            return False
    for layer in layers:
        layer.shown[window] *= 1 - alpha
    shown = np.zeros(canvas.shape[:2], dtype=np.float32)
    shown[window] = alpha
    layers.append(_Layer(figure, shown, float(alpha.sum())))
    fill = paint.texture(rng, figure.colors, bottom - top, right - left)
    canvas[window] += alpha[..., None] * (fill - canvas[window])
    return True


def _bounds(shown: paint.Pixels) -> tuple[int, int, int, int]:
    rows, columns = (np.nonzero((shown >= 0.5).any(axis=axis))[0] for axis in (1, 0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
