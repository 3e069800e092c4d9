"""Boxes against a rasteriser that shares no code with the renderer."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import shapes
from shapes.scene import Annotated

_SAMPLES = 8


def _covered(points: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Share of each pixel inside a polygon by the even-odd rule, from 8 x 8 points a pixel."""
    y = (np.arange(height * _SAMPLES) + 0.5) / _SAMPLES
    x = (np.arange(width * _SAMPLES) + 0.5) / _SAMPLES
    inside = np.zeros((len(y), len(x)), dtype=bool)
    for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y1 != y2:
            rows = (y >= min(y1, y2)) & (y < max(y1, y2))
            crossing = x1 + (y[rows] - y1) * (x2 - x1) / (y2 - y1)
            inside[rows] ^= x[None, :] > crossing[:, None]
    blocks = inside.reshape(height, _SAMPLES, width, _SAMPLES)
    return blocks.mean(axis=(1, 3))


def _shown(image: Annotated) -> list[NDArray[np.float64]]:
    """Share of each pixel's colour that every figure has, back to front."""
    height, width = image.frame.shape[:2]
    covered = [_covered(figure.points, height, width) for figure in image.figures]
    shown = []
    for index, own in enumerate(covered):
        for later in covered[index + 1 :]:
            own = own * (1 - later)
        shown.append(own)
    return shown


def _bounds(shown: NDArray[np.float64]) -> list[int]:
    rows, columns = np.nonzero(shown >= 0.5)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.fixture(scope="module")
def images() -> list[Annotated]:
    return list(shapes.detection(5, 24))


def test_boxes_bound_the_visible_pixels(images: list[Annotated]) -> None:
    differences = np.concatenate(
        [np.abs(image.boxes - [_bounds(shown) for shown in _shown(image)]) for image in images]
    )
    # The renderer samples 4 x 4 points a pixel, this test 8 x 8, and polygon edges are rounded to
    # samples: a pixel covered by about a half may count in one and not in the other.
    assert differences.max() <= 1
    assert (differences == 0).mean() > 0.8


def test_boxes_lie_in_the_frame_and_name_their_figures(images: list[Annotated]) -> None:
    for image in images:
        height, width = image.frame.shape[:2]
        assert image.boxes.shape == (len(image.labels), 4)
        assert (image.boxes[:, :2] >= 0).all()
        assert (image.boxes[:, 2:] <= [width, height]).all()
        assert (image.boxes[:, 2:] > image.boxes[:, :2]).all()
        assert image.labels.tolist() == [figure.label for figure in image.figures]


def test_figures_are_occluded_but_never_by_more_than_half(images: list[Annotated]) -> None:
    remaining = [
        shown.sum() / _covered(figure.points, *image.frame.shape[:2]).sum()
        for image in images
        for figure, shown in zip(image.figures, _shown(image), strict=True)
    ]
    # The two rasterisers differ by a few per cent of a small figure's area.
    assert min(remaining) > 0.46
    assert (np.array(remaining) < 0.9).sum() >= 5


def test_a_figure_shows_in_the_frame_where_its_box_says(images: list[Annotated]) -> None:
    for image in images:
        for figure, shown in zip(image.figures, _shown(image), strict=True):
            pixels = image.frame[shown == 1].astype(float) / 255
            # Its texture mixes two colours; noise has a standard deviation of 0.06 at most, which
            # averages out over the dozens of pixels that the smallest figure has.
            low, high = figure.colors.min(axis=0), figure.colors.max(axis=0)
            mean = pixels.mean(axis=0)
            assert (mean > low - 0.05).all() and (mean < high + 0.05).all()
