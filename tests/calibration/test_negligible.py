"""The smallest linears stay float, up to a share of the work that they make up together."""

from __future__ import annotations

import pytest

from calibration.precision import NEGLIGIBLE, negligible


@pytest.mark.parametrize(
    ("macs", "found"),
    [
        pytest.param({"a": 10_000, "b": 3, "c": 5}, ["b", "c"], id="together under the share"),
        pytest.param({"a": 10_000, "b": 8, "c": 5}, ["c"], id="the second goes over it"),
        pytest.param({"a": 10_000, "b": 11}, [], id="the first goes over it"),
        pytest.param({"a": 5}, [], id="alone"),
        pytest.param({}, [], id="none"),
    ],
)
def test_the_smallest_stay_float(macs: dict[str, int], found: list[str]) -> None:
    assert NEGLIGIBLE == 1e-3  # what the cases are made for
    assert list(negligible(macs)) == found


def test_the_reason_has_the_share() -> None:
    assert "0.050% of the multiply-accumulates" in negligible({"a": 9995, "b": 5})["b"]
