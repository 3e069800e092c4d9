"""The palette of an iGPT: k-means of rendered pixels, as section 3.2 of Chen et al. 2020 has it.

`python -m shapes.training.palette` prints that of imagegpt_tiny_shapes, for its record.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime import Preprocess
from shapes.datasets.classification import classification_image

_IMAGES = 2000
_PIXELS = 40_000  # of these images, on which the clusters are found
_ROUNDS = 100
_SIDE, _COLOURS = 16, 32  # of imagegpt_tiny_shapes


def clusters(colours: NDArray[np.float64], count: int, seed: int) -> NDArray[np.float64]:
    """Lloyd's algorithm on colours (N, 3), started from some of them: (count, 3)."""
    rng = np.random.default_rng(seed)
    centres = colours[rng.choice(len(colours), count, replace=False)]
    for _ in range(_ROUNDS):
        nearest = (np.square(centres).sum(axis=1) - 2 * colours @ centres.T).argmin(axis=1)
        sizes = np.bincount(nearest, minlength=count)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, colours)
        moved = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def main() -> int:
    """Prints the clusters, the darkest first."""
    resize = Preprocess(resize="exact", size=_SIDE)
    frames = [classification_image(0, index).frame for index in range(_IMAGES)]
    pixels = np.concatenate([resize.prepare(frame).images.reshape(-1, 3) for frame in frames])
    chosen = np.random.default_rng(0).choice(len(pixels), _PIXELS, replace=False)
    found = clusters(pixels[chosen].astype(np.float64), _COLOURS, seed=0)
    for colour in np.rint(found[found.sum(axis=1).argsort()]).astype(int).tolist():
        print(f"- {colour}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
