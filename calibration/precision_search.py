"""Which linears return to float until the limits hold: the algorithm alone.

Layers are put in one order, the error that returning a layer removes per millisecond that it
costs, and the shortest prefix of that order is found whose return makes the limits hold. This is
the greedy solution of the knapsack problem (Dantzig, "Discrete-variable extremum problems",
Operations Research 5 (1957)), near-optimal because effects nearly add up and no layer is a large
part of the whole. Only few sets are tried (bisection), on purpose: every trial is judged on the
same noisy images, and the best of many would be chosen for its luck.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Judged = TypeVar("Judged")


@dataclass(frozen=True)
class Step(Generic[Judged]):
    """One set that was tried.

    Attributes:
        returned: How many layers of the order were float.
        holds: Whether the limits held.
        judged: What was measured.
    """

    returned: int
    holds: bool
    judged: Judged


def return_order(effects: Mapping[str, float], saved: Mapping[str, float]) -> list[str]:
    """The layers in the order in which they return to float.

    Args:
        effects: Squared error that each layer adds to the outputs.
        saved: Milliseconds that int8 saves there; a layer that saves nothing returns first.
    """

    def key(name: str) -> tuple[float, float]:
        worth = effects[name] / saved[name] if saved[name] > 0 else math.inf
        return -worth, -effects[name]

    return sorted(effects, key=key)


def fewest_returned(
    layers: int, judge: Callable[[int], tuple[bool, Judged]]
) -> tuple[int, Sequence[Step[Judged]]]:
    """The least number of leading layers whose return to float makes the limits hold.

    Args:
        layers: How many there are; with all of them returned the limits hold.
        judge: Whether they hold with so many returned, and the figures; called about
            log2(layers) + 1 times. Taken to hold with more once they hold.

    Returns:
        The number, and the steps in the order in which they were tried.
    """
    steps: list[Step[Judged]] = []

    def holds(returned: int) -> bool:
        steps.append(Step(returned, *judge(returned)))
        return steps[-1].holds

    if holds(0):
        return 0, steps
    too_few, enough = 0, layers
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if holds(middle):
            enough = middle
        else:
            too_few = middle
    return enough, steps
