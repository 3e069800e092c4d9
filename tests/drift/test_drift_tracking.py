"""Identity metrics counted by hand, and against every assignment tried in turn."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from runtime.drift.identity import Row, compare, idf1, mota
from runtime.drift.measure import measure

SIDE = 10.0


def at(*places: tuple[int, float]) -> Row:
    """Identities, each with how far right its square of 10 x 10 pixels is."""
    ids = np.array([number for number, _ in places], np.int64)
    boxes = [[x, 0, x + SIDE, SIDE] for _, x in places]
    return Row(ids, np.array(boxes, np.float32).reshape(-1, 4))


def value(name: str, reference: Any, candidate: Any, labels: Any = None) -> float:
    report = measure("tracking", reference, candidate, labels=labels)
    return {m.name: m.value for m in report.measurements}[name]


TRUE = [at((0, 0), (1, 50))] * 4


def figures(truth: list[Row], found: list[Row]) -> tuple[float, float]:
    counts = np.array(compare(truth, found))
    return float(idf1(counts)), float(mota(counts))


@pytest.mark.parametrize(
    ("found", "expected_idf1", "expected_mota"),
    [
        pytest.param([at((7, 0), (5, 50))] * 4, 1.0, 1.0, id="other numbers"),
        # Half the boxes of either identity are right under any assignment; two switches.
        pytest.param(
            [at((0, 0), (1, 50))] * 2 + [at((1, 0), (0, 50))] * 2, 0.5, 1 - 2 / 8, id="swapped"
        ),
        # Identity 0 keeps its longer part, three of four frames: 7 of 8 are right.
        pytest.param(
            [at((0, 0), (1, 50))] * 3 + [at((2, 0), (1, 50))], 7 / 8, 1 - 1 / 8, id="broken"
        ),
        # Four boxes of eight are found: 2 * 4 / (8 + 4).
        pytest.param([at((0, 0))] * 4, 2 / 3, 1 - 4 / 8, id="missed"),
        # A false track for four frames: 2 * 8 / (8 + 12).
        pytest.param([at((0, 0), (1, 50), (2, 90))] * 4, 0.8, 1 - 4 / 8, id="false"),
        # A shift of 3 of 10 pixels is an IoU of 7 / 13, one of 4 of 6 / 14.
        pytest.param([at((0, 3), (1, 50))] * 4, 1.0, 1.0, id="near enough"),
        pytest.param([at((0, 4), (1, 50))] * 4, 0.5, 0.0, id="too far"),
        pytest.param([at()] * 4, 0.0, 0.0, id="nothing"),
    ],
)
def test_figures_by_hand(found: list[Row], expected_idf1: float, expected_mota: float) -> None:
    assert figures(TRUE, found) == pytest.approx((expected_idf1, expected_mota))


def test_a_pair_stays_while_it_overlaps() -> None:
    """CLEAR keeps the correspondence of the frame before, even where another box fits better."""
    truth = [at((0, 0))] * 2
    found = [at((1, 0)), at((1, 3), (2, 0))]
    counts = compare(truth, found)
    assert (counts.missed, counts.false, counts.switches) == (0, 1, 0)


def test_a_switch_counts_after_a_gap_too() -> None:
    truth = [at((0, 0))] * 3
    counts = compare(truth, [at((1, 0)), at(), at((2, 0))])
    assert (counts.missed, counts.false, counts.switches) == (1, 0, 1)


def _every_assignment(truth: list[Row], found: list[Row]) -> int:
    """The most boxes that are right under any one-to-one assignment of identities."""
    true_ids = sorted({int(i) for row in truth for i in row.ids})
    other_ids = sorted({int(i) for row in found for i in row.ids})
    other_ids += [-1 - k for k in range(len(true_ids))]  # of true identities without any
    best = 0
    for chosen in permutations(other_ids, len(true_ids)):
        partner = dict(zip(true_ids, chosen, strict=True))
        right = 0
        for true, other in zip(truth, found, strict=True):
            places = dict(zip(other.ids.tolist(), other.boxes[:, 0], strict=True))
            for number, (x, *_) in zip(true.ids.tolist(), true.boxes, strict=True):
                # Squares of 10 pixels that are d apart have IoU (10 - d) / (10 + d).
                right += abs(places.get(partner[number], np.inf) - x) <= SIDE / 3
        best = max(best, right)
    return best


@pytest.mark.parametrize("seed", range(20))
def test_identified_boxes_are_the_most_of_any_assignment(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def clip() -> list[Row]:
        chosen = [rng.permutation(4)[: rng.integers(0, 4)] for _ in range(5)]
        return [at(*((int(i), 6.0 * rng.integers(0, 4)) for i in ids)) for ids in chosen]

    truth, found = clip(), clip()
    assert compare(truth, found).identified == _every_assignment(truth, found)


def test_an_engine_equal_to_pytorch_has_no_drift() -> None:
    clips = [TRUE, [at((3, 20))] * 2]
    assert value("idf1_vs_reference", clips, clips) == 1
    assert value("idf1_drop", clips, clips, clips) == 0
    assert value("mota_drop", clips, clips, clips) == 0


def test_shares_are_of_all_clips_together() -> None:
    reference = [[at((0, 0))] * 3, [at((0, 0))]]
    candidate = [[at((0, 0))] * 3, [at()]]
    # Three boxes of four, and nothing false: 2 * 3 / (4 + 3).
    assert value("idf1_vs_reference", reference, candidate) == pytest.approx(6 / 7)
    assert value("mota_drop", reference, candidate, reference) == pytest.approx(1 / 4)


def test_the_interval_is_over_clips() -> None:
    right, wrong = [at((0, 0))], [at((0, 50))]
    reference, candidate = [right] * 40, [right] * 36 + [wrong] * 4
    (found, *_) = measure("tracking", reference, candidate).measurements
    assert found.value == pytest.approx(0.9)
    # 36 of 40: the standard deviation of the share is sqrt(0.9 * 0.1 / 40) = 0.047.
    assert 0.72 < found.low < 0.86 and 0.94 < found.high <= 1.0


def test_an_engine_that_is_not_finite_agrees_on_nothing() -> None:
    broken = [Row(np.array([-1]), np.full((1, 4), np.nan, np.float32))] * 4
    assert value("idf1_vs_reference", [TRUE], [broken]) == 0
    with pytest.raises(ValueError, match="PyTorch model itself is broken"):
        measure("tracking", [broken], [TRUE])


def test_clips_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="found tracks of 3 frames, expected 4"):
        measure("tracking", [TRUE], [TRUE[:3]])
