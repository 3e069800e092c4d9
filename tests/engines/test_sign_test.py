"""Tails of the binomial distribution, against scipy."""

from __future__ import annotations

import pytest
from scipy.stats import binom

from engines.sign_test import tail

CASES = [(0, 0), (0, 4), (1, 4), (2, 4), (4, 4), (8, 10), (60, 100), (40, 100), (2000, 3000)]


@pytest.mark.parametrize(("heads", "throws"), [*CASES, (500_500, 1_000_000)], ids=str)
def test_it_is_the_binomial_tail(heads: int, throws: int) -> None:
    # log(1e6!) is 1.3e7, of which float64 keeps 1e-9: so much is lost of a probability.
    assert tail(heads, throws) == pytest.approx(binom.sf(heads - 1, throws, 0.5), rel=1e-7)
