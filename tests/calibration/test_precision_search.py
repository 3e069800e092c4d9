"""The order of return and the bisection, on effects that are made up and add up."""

from __future__ import annotations

import math

import numpy as np
import pytest

from calibration.precision_search import fewest_returned, return_order


def layers(count: int, seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """Effects and milliseconds of made-up layers."""
    generator = np.random.default_rng(seed)
    names = [f"layer{i}" for i in range(count)]
    effects = dict(zip(names, generator.lognormal(-9.0, 2.0, count), strict=True))
    saved = dict(zip(names, generator.lognormal(0.0, 0.5, count), strict=True))
    return effects, saved


def test_order_is_error_bought_per_millisecond() -> None:
    effects = {"a": 4.0, "b": 3.0, "c": 1.0, "d": 0.1}
    saved = {"a": 8.0, "b": 1.0, "c": 1.0, "d": 0.0}
    # 0.5, 3 and 1 per millisecond; d costs nothing to return.
    assert return_order(effects, saved) == ["d", "b", "c", "a"]


def test_layers_that_cost_nothing_return_by_their_effect() -> None:
    assert return_order({"a": 1.0, "b": 2.0}, {"a": -0.1, "b": 0.0}) == ["b", "a"]


@pytest.mark.parametrize("count", [1, 2, 7, 73])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 2.0], ids=lambda s: f"limit {s}")
def test_the_fewest_layers_of_the_order_return(count: int, share: float) -> None:
    effects, saved = layers(count, seed=count)
    order = return_order(effects, saved)
    limit = share * sum(effects.values())
    left = [sum(effects[name] for name in order[k:]) for k in range(count + 1)]
    found, steps = fewest_returned(count, lambda k: (left[k] <= limit, left[k]))
    assert found == next(k for k in range(count + 1) if left[k] <= limit)
    assert len(steps) <= math.log2(count) + 2
    assert all(step.judged == left[step.returned] for step in steps)
    assert steps[0].returned == 0


def test_greedy_is_close_to_the_best_set_of_its_cost() -> None:
    """Every set of twelve layers, against the prefix that the order gives."""
    effects, saved = layers(12, seed=0)
    names = list(effects)
    chosen = (np.arange(2**12)[:, None] >> np.arange(12)) & 1
    removed = chosen @ np.array([effects[n] for n in names])
    cost = chosen @ np.array([saved[n] for n in names])
    order = return_order(effects, saved)
    for k in range(1, 12):
        ours, spent = sum(effects[n] for n in order[:k]), sum(saved[n] for n in order[:k])
        best = removed[cost <= spent + 1e-9].max()
        # A prefix of the greedy order solves the knapsack exactly for its own cost.
        assert ours == pytest.approx(best, rel=1e-9)
