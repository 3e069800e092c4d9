"""Changes of a batch in ways that the rendered world is indifferent to."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Kind = TypeVar("Kind", bound=np.generic)


def in_other_colours(rng: np.random.Generator, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Exchanges the channels of one frame or more (..., 3), and inverts them or not."""
    frames = frames[..., rng.permutation(3)]
    return 255 - frames if rng.integers(2) else frames


def recoloured(
    rng: np.random.Generator, frames: NDArray[np.uint8], maps: NDArray[Kind]
) -> tuple[NDArray[np.uint8], NDArray[Kind]]:
    """Mirrors frames (N, H, W, 3) and maps of their pixels (N, H, W), and changes the colours."""
    frames = in_other_colours(rng, frames)
    mirror = 1 - 2 * int(rng.integers(2))
    return frames[:, :, ::mirror], maps[:, :, ::mirror]
