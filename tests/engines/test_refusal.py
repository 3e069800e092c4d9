"""INT8 is refused only for a float engine that is faster for sure."""

from __future__ import annotations

import pytest

from engines.candidates import Candidate
from engines.latency import Latency
from engines.refusal import faster_float


def timed(precision: str, *rounds: float, obstacle: str = "") -> Candidate:
    """A candidate whose rounds at batch 1 took so many milliseconds."""
    middle = sorted(rounds)[len(rounds) // 2]
    times = {1: Latency(1, middle, min(rounds), max(rounds), rounds)}
    return Candidate(precision, "openvino", precision == "int8", "1", None, times, obstacle)


SLOW = timed("int8", *[2.0] * 15)


def test_both_figures_are_said() -> None:
    line = faster_float(SLOW, [SLOW, timed("fp32", *[1.0] * 15)])
    assert "int8 on openvino takes 2.00 ms an image and fp32 on openvino 1.00 ms" in line
    assert "15 of 15 paired rounds" in line and "--keep-slower" in line


@pytest.mark.parametrize(
    "rival",
    [
        pytest.param(timed("fp32", *[2.5] * 15), id="slower float"),
        pytest.param(timed("fp32", *[1.97] * 15), id="1.5 % faster: under the least gain"),
        # 10 of 15 heads or more have a probability of 0.15.
        pytest.param(timed("fp32", *[1.0] * 10, *[3.0] * 5), id="faster in 10 rounds of 15"),
        pytest.param(timed("fp32", *[1.0] * 15, obstacle="cosine 0.8"), id="unfaithful float"),
        pytest.param(timed("int8", *[1.0] * 15), id="another int8"),
    ],
)
def test_not_refused(rival: Candidate) -> None:
    assert faster_float(SLOW, [SLOW, rival]) == ""


def test_twelve_wins_of_fifteen_are_no_chance() -> None:
    # 12 of 15 heads or more: (455 + 105 + 15 + 1) / 2**15 = 0.018.
    assert "12 of 15" in faster_float(SLOW, [SLOW, timed("fp32", *[1.0] * 12, *[3.0] * 3)])


def test_four_rounds_are_too_few() -> None:
    few = timed("int8", *[2.0] * 4)
    # 4 of 4 heads: 0.0625.
    assert faster_float(few, [few, timed("fp32", *[1.0] * 4)]) == ""


def test_a_float_engine_is_never_refused() -> None:
    slow = timed("fp32", *[9.0] * 15)
    assert faster_float(slow, [slow, timed("fp16", *[1.0] * 15)]) == ""
