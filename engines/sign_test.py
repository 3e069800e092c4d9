"""Which of two is better, by how often it was (Dixon and Mood, "The statistical sign test")."""

from __future__ import annotations

import math


def tail(heads: int, throws: int) -> float:
    """Probability of at least so many heads in `throws` throws of a fair coin."""
    if 2 * heads <= throws:
        return 1.0 - tail(throws - heads + 1, throws) if heads > 0 else 1.0
    logarithm = math.lgamma(throws + 1) - math.lgamma(heads + 1) - math.lgamma(throws - heads + 1)
    term = math.exp(logarithm - throws * math.log(2))
    total = 0.0
    # From the middle on, each term is smaller than the one before.
    for count in range(heads, throws + 1):
        total += term
        term *= (throws - count) / (count + 1)
        if term <= 1e-12 * total:
            break
    return total
