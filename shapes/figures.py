"""The outlines that give the rendered world its classes.

Every outline is one polygon inside the unit circle; a hole (the ring) is cut by a keyhole, two
coincident edges that join the outer and the inner boundary. Classes differ in outline alone.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

NAMES = (
    "circle",
    "square",
    "triangle",
    "star",
    "cross",
    "ring",
    "crescent",
    "arrow",
    "heart",
    "t_shape",
    "hourglass",
    "l_shape",
)
"""Class names of the classification task; a label is an index into this tuple."""

DETECTION_NAMES = NAMES[:8]
"""Class names of the detection task: those that stay distinct when they are small."""

_CURVE_POINTS = 48


@cache
def outline(name: str) -> NDArray[np.float64]:
    """Returns the closed outline of a class, float64 (points, 2) as (x, y), farthest point at 1.

    Raises:
        ValueError: if `name` is not one of `NAMES`.
    """
    if name not in NAMES:
        raise ValueError(f"unknown figure {name!r}; expected one of {', '.join(NAMES)}")
    corners = _BUILDERS[name]()
    points: NDArray[np.float64] = corners / np.hypot(corners[:, 0], corners[:, 1]).max()
    points.setflags(write=False)
    return points


def turned(points: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """Points (P, 2), as (x, y) with y downwards, turned clockwise about (0, 0), by radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    found: NDArray[np.float64] = points @ np.array([[cos, sin], [-sin, cos]])
    return found


def _circle(
    radius: float = 1.0, turn: float = 1.0, points: int = _CURVE_POINTS
) -> NDArray[np.float64]:
    angle = np.linspace(0.0, turn * 2 * np.pi, points)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _regular(sides: int) -> NDArray[np.float64]:
    return _circle(points=sides + 1)[:-1]


def _star() -> NDArray[np.float64]:
    points = _circle(points=11)[:-1]
    points[1::2] *= 0.42
    return points


def _polygon(*corners: tuple[float, float]) -> NDArray[np.float64]:
    return np.array(corners, dtype=np.float64)


def _cross() -> NDArray[np.float64]:
    arm = 0.34
    quarter = np.array([[1.0, -arm], [1.0, arm], [arm, arm]])
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])  # a quarter turn of row vectors
    return np.concatenate([quarter, quarter @ turn, -quarter, -quarter @ turn])


def _ring() -> NDArray[np.float64]:
    return np.concatenate([_circle(), _circle(0.55, turn=-1.0)])


def _crescent() -> NDArray[np.float64]:
    """A disc less a disc of 0.85 of its radius, shifted by 0.45: two arcs between the crossings."""
    radius, shift = 0.85, 0.45
    crossing_x = (1 - radius**2 + shift**2) / (2 * shift)
    crossing_y = np.sqrt(1 - crossing_x**2)
    outer_angle = np.arctan2(crossing_y, crossing_x)
    inner_angle = np.arctan2(crossing_y, crossing_x - shift)
    outer = np.linspace(outer_angle, 2 * np.pi - outer_angle, _CURVE_POINTS)
    inner = np.linspace(2 * np.pi - inner_angle, inner_angle, _CURVE_POINTS)
    outside = np.stack([np.cos(outer), np.sin(outer)], axis=1)
    inside = np.stack([shift + radius * np.cos(inner), radius * np.sin(inner)], axis=1)
    points: NDArray[np.float64] = np.concatenate([outside, inside]) + np.array([0.2, 0.0])
    return points


def _heart() -> NDArray[np.float64]:
    t = np.linspace(0.0, 2 * np.pi, _CURVE_POINTS)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, y + 2.5], axis=1)


def _t_shape() -> NDArray[np.float64]:
    return _polygon(
        (-0.8, 0.9),
        (0.8, 0.9),
        (0.8, 0.35),
        (0.27, 0.35),
        (0.27, -0.9),
        (-0.27, -0.9),
        (-0.27, 0.35),
        (-0.8, 0.35),
    )


def _hourglass() -> NDArray[np.float64]:
    return _polygon((-0.7, 1.0), (0.7, 1.0), (0.12, 0.0), (0.7, -1.0), (-0.7, -1.0), (-0.12, 0.0))


def _arrow() -> NDArray[np.float64]:
    return _polygon(
        (1.0, 0.0),
        (0.1, 0.8),
        (0.1, 0.27),
        (-0.95, 0.27),
        (-0.95, -0.27),
        (0.1, -0.27),
        (0.1, -0.8),
    )


def _l_shape() -> NDArray[np.float64]:
    return _polygon(
        (-0.6, -0.8), (0.7, -0.8), (0.7, -0.25), (-0.05, -0.25), (-0.05, 0.8), (-0.6, 0.8)
    )


_BUILDERS = {
    "circle": _circle,
    "square": lambda: _regular(4),
    "triangle": lambda: _regular(3),
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "crescent": _crescent,
    "arrow": _arrow,
    "heart": _heart,
    "t_shape": _t_shape,
    "hourglass": _hourglass,
    "l_shape": _l_shape,
}
