"""Endless data sets: every image is a function of (seed, index) alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from shapes.scene import Annotated, Portrait, several, single

_CLASSIFICATION, _DETECTION = 0, 1  # separate random streams, so that the tasks share no image


def classification_image(seed: int, index: int) -> Portrait:
    """Renders image `index` of the classification set `seed`, with its figure's mask."""
    return single(np.random.default_rng((seed, _CLASSIFICATION, index)))


def detection_image(seed: int, index: int) -> Annotated:
    """Renders image `index` of the detection set `seed`: a ragged frame with exact boxes."""
    return several(np.random.default_rng((seed, _DETECTION, index)))


def classification(seed: int, n: int) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Yields the first `n` images, uint8 (64, 64, 3) RGB, and labels of the set `seed`."""
    return (classification_image(seed, index)[:2] for index in range(n))


def detection(seed: int, n: int) -> Iterator[Annotated]:
    """Yields the first `n` annotated frames of the detection set `seed`."""
    return (detection_image(seed, index) for index in range(n))
