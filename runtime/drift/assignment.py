"""The assignment of least cost, exactly.

Rows are added one after another, each by the shortest augmenting path in reduced costs, which is
O(n² m). Source: R. Jonker and A. Volgenant, "A shortest augmenting path algorithm for dense and
sparse linear assignment problems", Computing 38 (1987).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


def assign(cost: npt.NDArray[Any]) -> tuple[Indices, Indices]:
    """The pairs of rows and columns whose costs sum to the least, as many as can be.

    Args:
        cost: (n, m), finite.

    Returns:
        Rows, ascending, and the column of each: int64 (min(n, m),).

    Raises:
        ValueError: costs that are not finite.
    """
    costs = np.asarray(cost, np.float64)
    if not np.isfinite(costs).all():
        raise ValueError("found NaN or infinity among the costs, expected finite numbers")
    if costs.shape[0] > costs.shape[1]:
        columns, rows = assign(costs.T)
        order = np.argsort(rows)
        return rows[order], columns[order]
    row_of = _augmented(costs)
    columns = np.flatnonzero(row_of >= 0)
    order = np.argsort(row_of[columns])
    return row_of[columns][order], columns[order]


def _augmented(costs: npt.NDArray[np.float64]) -> Indices:
    """The row of each column, -1 of one that has none, where there are at most as many rows."""
    count, width = costs.shape
    row_of = np.full(width, -1)
    row_price, column_price = np.zeros(count), np.zeros(width)
    for start in range(count):
        reached = np.full(width, np.inf)
        before = np.full(width, -1)  # the column before each on its path; -1 where that is `start`
        done = np.zeros(width, bool)
        row, column, length = start, -1, 0.0
        while row >= 0:
            onward = length + costs[row] - row_price[row] - column_price
            shorter = ~done & (onward < reached)
            reached[shorter], before[shorter] = onward[shorter], column
            column = int(np.where(done, np.inf, reached).argmin())
            length = float(reached[column])
            done[column] = True
            row = int(row_of[column])
        _reprice(row_price, column_price, row_of, np.where(done, length - reached, 0.0))
        row_price[start] += length
        while column >= 0:
            previous = int(before[column])
            row_of[column] = start if previous < 0 else row_of[previous]
            column = previous
    return row_of


def _reprice(
    row_price: npt.NDArray[np.float64],
    column_price: npt.NDArray[np.float64],
    row_of: Indices,
    slack: npt.NDArray[np.float64],
) -> None:
    """Keeps the reduced costs of assigned pairs zero and of all others at least zero."""
    column_price -= slack
    taken = row_of >= 0
    row_price[row_of[taken]] += slack[taken]
