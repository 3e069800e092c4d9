"""The assignment of least cost against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from runtime.drift.assignment import assign


def _costs(kind: str, rng: np.random.Generator) -> np.ndarray:
    shape = rng.integers(0, 9, 2)
    if kind == "real":
        return rng.normal(size=shape)
    # Whole numbers have many ties, and many assignments of the least cost.
    return rng.integers(-3, 4, shape).astype(float) * (1e6 if kind == "huge" else 1)


@pytest.mark.parametrize("kind", ["real", "tied", "huge"])
def test_no_assignment_costs_less(kind: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        costs = _costs(kind, rng)
        rows, columns = assign(costs)
        best = costs[linear_sum_assignment(costs)].sum()
        assert len(rows) == len(columns) == min(costs.shape)
        assert (np.diff(rows) > 0).all() and len(set(columns.tolist())) == len(columns)
        # Sums of up to eight float64 numbers in another order.
        assert costs[rows, columns].sum() == pytest.approx(best, rel=1e-12, abs=1e-12)


def test_costs_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="expected finite"):
        assign(np.array([[np.nan]]))
