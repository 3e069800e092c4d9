"""Where a heatmap is highest, to a fraction of a cell.

A heatmap is taken for a Gaussian, whose logarithm is a parabola; one Newton step from the highest
cell leads to its summit (Zhang et al. 2020, "Distribution-Aware Coordinate Representation for Human
Pose Estimation", arXiv:1910.06278, section 3.2). Their smoothing, against bumps, needs cells beyond
the edges. Here the parabola is fitted to the cells that there are, by least squares, each weighted
by its squared height (Guo 2011, "A Simple Algorithm for Fitting a Gaussian Function",
doi:10.1109/MSP.2011.941846), so that summits at the edges come out right too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_REACH = 2  # cells to each side of the highest one that the parabola is fitted to
_FARTHEST = 1.0  # cells; a longer step does not lead to this summit
_LEAST = 1e-10  # below any height, so that a logarithm exists
_STEADY = 1e-9  # keeps the equations of a flat map solvable; a step is that much off


def peaks(
    heatmaps: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The summit of each heatmap (..., H, W).

    Returns:
        float32 (..., 2), its x and y in cells, where a whole number is the centre of a cell; and
        float32 (...), the height of the highest cell, NaN where a heatmap is not finite.
    """
    shape, (height, width) = heatmaps.shape[:-2], heatmaps.shape[-2:]
    maps = heatmaps.reshape(-1, height, width).astype(np.float32)
    flat = maps.reshape(len(maps), -1)
    scores = np.where(np.isfinite(flat).all(1), flat.max(1), np.nan)
    maps = np.nan_to_num(maps, posinf=0.0, neginf=0.0)
    best = maps.reshape(len(maps), -1).argmax(1)
    cells = np.stack([best % width, best // width], axis=1)
    most = np.array([width - 1, height - 1])
    places = np.clip(cells + _steps(maps, cells), 0, most).astype(np.float32)
    return places.reshape(*shape, 2), scores.astype(np.float32).reshape(shape)


def _steps(maps: npt.NDArray[np.float32], cells: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """From each map's cell (M, 2) to the summit of the parabola around it: (M, 2)."""
    _, x, y, xx, xy, yy = np.moveaxis(_parabolas(maps, cells), 1, 0)
    determinant = xx * yy - xy**2
    summit = (xx < 0) & (determinant > 0)
    safe = np.where(summit, determinant, 1.0)
    steps = np.stack([xy * y - yy * x, xy * x - xx * y], axis=1) / safe[:, None]
    near = summit & (np.abs(steps) <= _FARTHEST).all(1)
    return np.where(near[:, None], steps, 0.0)


def _parabolas(
    maps: npt.NDArray[np.float32], cells: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Each logarithm's value, two first and three second derivatives at its cell: (M, 6)."""
    side = np.arange(-_REACH, _REACH + 1)
    y, x = (grid.ravel() for grid in np.meshgrid(side, side, indexing="ij"))
    rows, columns = cells[:, 1:] + y, cells[:, :1] + x
    inside = (rows >= 0) & (rows < maps.shape[1]) & (columns >= 0) & (columns < maps.shape[2])
    index = np.where(inside, rows * maps.shape[2] + columns, 0)
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    heights = np.where(inside, np.take_along_axis(flat, index, axis=1), 0.0).clip(_LEAST)
    heights = heights / heights.max(axis=1, keepdims=True)
    terms = np.stack([np.ones_like(x), x, y, x**2 / 2, x * y, y**2 / 2], axis=1)
    weighted = heights[:, :, None] ** 2 * terms
    matrices = np.swapaxes(weighted, 1, 2) @ terms + _STEADY * np.eye(6)
    wanted = (weighted * np.log(heights)[:, :, None]).sum(1)
    found: npt.NDArray[np.float64] = np.linalg.solve(matrices, wanted[:, :, None])[:, :, 0]
    return found
