"""How well tracks keep the identities of others: IDF1 and MOTA, from counts that add up over clips.

Sources: E. Ristani et al., "Performance measures and a data set for multi-target, multi-camera
tracking" (2016); K. Bernardin and R. Stiefelhagen, "Evaluating multiple object tracking
performance: the CLEAR MOT metrics" (2008). Boxes are of the same object from an IoU of 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.drift.assignment import assign
from runtime.drift.overlap import sound_iou

_SAME = 0.5  # least IoU


class Row(NamedTuple):
    """The tracks of one frame.

    Attributes:
        ids: int64 (M,), each once.
        boxes: float32 (M, 4), left, top, right, bottom in pixels; of one that is not finite, NaN.
    """

    ids: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]


class Counts(NamedTuple):
    """What is counted of a clip; a sum of several is of all of them.

    Attributes:
        truths: true boxes of all frames.
        found: found boxes of all frames.
        identified: found boxes whose identity is right, by the assignment of found to true
            identities that makes these the most (IDTP).
        missed: true boxes without a found one.
        false: found boxes without a true one.
        switches: how often a true identity is found under another identity than before.
    """

    truths: int
    found: int
    identified: int
    missed: int
    false: int
    switches: int


def compare(truth: Sequence[Row], found: Sequence[Row]) -> Counts:
    """Counts of a clip's frames.

    Raises:
        ValueError: different numbers of frames.
    """
    if len(truth) != len(found):
        raise ValueError(f"found tracks of {len(found)} frames, expected {len(truth)}")
    overlaps = [_overlap(*rows) for rows in zip(truth, found, strict=True)]
    missed, false, switches = _clear(truth, found, overlaps)
    return Counts(
        sum(len(row.ids) for row in truth),
        sum(len(row.ids) for row in found),
        _identified(truth, found, overlaps),
        missed,
        false,
        switches,
    )


def idf1(counts: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """IDF1 of `Counts` (..., 6): 2 IDTP / (true + found); NaN where there is nothing."""
    truths, found, identified = (counts[..., column] for column in range(3))
    return _ratio(2 * identified, truths + found)


def mota(counts: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """MOTA of `Counts` (..., 6): 1 - (missed + false + switches) / true; NaN without truths."""
    return 1 - _ratio(counts[..., 3:].sum(axis=-1), counts[..., 0])


def _ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    share: npt.NDArray[np.float64] = np.where(
        whole > 0, part / np.where(whole > 0, whole, 1), np.nan
    )
    return share


def _overlap(truth: Row, found: Row) -> npt.NDArray[np.float64]:
    """IoU (true, found), 0 where it is too little, or a box not finite."""
    overlap = sound_iou(found.boxes, truth.boxes).T
    return np.where(overlap >= _SAME, overlap, 0.0)


def _identified(
    truth: Sequence[Row], found: Sequence[Row], overlaps: Sequence[npt.NDArray[np.float64]]
) -> int:
    """IDTP: boxes that overlap under the best one-to-one assignment of identities."""
    rows, columns = (
        {
            number: place
            for place, number in enumerate(sorted({int(i) for r in side for i in r.ids}))
        }
        for side in (truth, found)
    )
    together = np.zeros((len(rows), len(columns)))
    for true, other, overlap in zip(truth, found, overlaps, strict=True):
        for i, j in np.argwhere(overlap):
            together[rows[int(true.ids[i])], columns[int(other.ids[j])]] += 1
    return int(together[assign(-together)].sum())


def _clear(
    truth: Sequence[Row], found: Sequence[Row], overlaps: Sequence[npt.NDArray[np.float64]]
) -> tuple[int, int, int]:
    """Missed and false boxes, and switches, frame by frame.

    A pair of the frame before stays one while its boxes overlap enough; the others are paired so
    that most pairs are made, and among these by the greatest IoU.
    """
    missed = false = switches = 0
    last: dict[int, int] = {}
    for true, other, overlap in zip(truth, found, overlaps, strict=True):
        stays = np.array([[last.get(int(i)) == int(j) for j in other.ids] for i in true.ids], bool)
        # A pair that stays outweighs all others, and a pair all that IoU says.
        worth = np.where(overlap > 0, overlap + 10.0, 0.0)
        worth = np.where(stays.reshape(overlap.shape) & (overlap > 0), 1e6, worth)
        pairs = [(i, j) for i, j in zip(*assign(-worth), strict=True) if overlap[i, j]]
        missed += len(true.ids) - len(pairs)
        false += len(other.ids) - len(pairs)
        for i, j in pairs:
            before = last.get(int(true.ids[i]))
            switches += before is not None and before != int(other.ids[j])
            last[int(true.ids[i])] = int(other.ids[j])
    return missed, false, switches
