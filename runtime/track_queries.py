"""Following objects by track queries: what a tracker knows between two frames, and what it does.

As in TrackFormer (Meinhardt et al. 2022, section 3.2): an object query whose score is high begins
a track; its output embedding is the track's query in the next frame. A track whose score falls is
lost, and its last query is tried for some frames more, in which it may be found again. Of tracks
that coincide the surest stays.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.drift.overlap import iou
from runtime.tasks.places import corners_of
from runtime.tasks.scores import softmax
from runtime.tasks.task import Outputs


@dataclasses.dataclass(frozen=True)
class Rules:
    """When tracks begin, stay and end.

    Attributes:
        detect: the least score of an object query that begins a track, in 0..1.
        keep: of a track that stays.
        find: of a lost track that is found again.
        patience: frames for which a lost track may be found again.
        overlap: IoU above which two tracks coincide.

    Raises:
        ValueError: a share that is not in 0..1, or patience that is no integer of at least 0.
    """

    detect: float = 0.5
    keep: float = 0.5
    find: float = 0.5
    patience: int = 5
    overlap: float = 0.9

    def __post_init__(self) -> None:
        """Check every field."""
        for name in ("detect", "keep", "find", "overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; give a number in 0..1")
        if type(self.patience) is not int or self.patience < 0:
            raise ValueError(f"patience is {self.patience!r}; give an integer of at least 0")


class State(NamedTuple):
    """The tracks of one video, those that were lost last at the end.

    Attributes:
        ids: int64 (n,).
        queries: float32 (n, D), for the next frame.
        lost: int64 (n,), frames since each was seen; 0 of those that were in the last one.
        following: the next track's id.
    """

    ids: npt.NDArray[np.int64]
    queries: npt.NDArray[np.float32]
    lost: npt.NDArray[np.int64]
    following: int

    @classmethod
    def of(cls, queries: npt.NDArray[np.float32]) -> State:
        """Tracks with these queries (n, D), numbered from 0."""
        count = len(queries)
        return cls(np.arange(count), queries, np.zeros(count, np.int64), count)

    def inputs(self, most: int) -> dict[str, npt.NDArray[np.float32]]:
        """`track_queries` (1, most, D) and `track_mask` (1, most), as the model takes them."""
        missing = most - len(self.ids)
        mask = np.pad(np.ones(len(self.ids), np.float32), (0, missing))
        queries = np.pad(self.queries, ((0, missing), (0, 0)))
        return {"track_queries": queries[None], "track_mask": mask[None]}


def advance(
    state: State, most: int, outputs: Outputs, rules: Rules | None = None
) -> tuple[State, npt.NDArray[np.int64]]:
    """What is known after a frame.

    Args:
        state: before it.
        most: the tracks that the model takes.
        outputs: of the frame alone: `logits` (most + N, C + 1), `pred_boxes` (most + N, 4) and
            `hidden` (most + N, D), of the tracks in the order of `state`, then of object queries.
        rules: when tracks begin, stay and end; None is `Rules()`.

    Returns:
        The state, of at most `most` tracks: more objects are not followed, the least sure ones
        first, and before that those are given up that were lost longest ago. And int64 (most + N,),
        the id of the track that each output shows; -1 where it shows none, as scores that are not
        finite do.
    """
    rules = rules or Rules()
    scores = scores_of(outputs["logits"])
    known = len(state.ids)
    least = np.full(len(scores), rules.detect)
    least[:known] = np.where(state.lost > 0, rules.find, rules.keep)
    least[known:most] = np.inf
    shown = np.flatnonzero(scores >= least)
    # Tracks before new objects, the surest first.
    order = shown[np.lexsort((-scores[shown], shown >= most))]
    order = order[_apart(corners_of(outputs["pred_boxes"][order]), rules.overlap)][:most]
    begun = order >= most
    following = state.following + int(begun.sum())
    ids = np.concatenate([state.ids[order[~begun]], np.arange(state.following, following)])
    found = np.full(len(scores), -1)
    found[order] = ids
    seen = np.isin(np.arange(known), shown)
    lost = _still_lost(state, seen, most - len(ids), rules.patience)
    queries = np.concatenate([outputs["hidden"][order], state.queries[lost]])
    ages = np.concatenate([np.zeros(len(ids), np.int64), state.lost[lost] + 1])
    return State(np.concatenate([ids, state.ids[lost]]), queries, ages, following), found


def scores_of(logits: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The highest probability of a class, of logits (..., C + 1) with "no object" last; or NaN."""
    with np.errstate(invalid="ignore"):  # of infinity less infinity
        return np.asarray(softmax(logits)[..., :-1].max(axis=-1))


def _apart(corners: npt.NDArray[np.float32], overlap: float) -> npt.NDArray[np.int64]:
    """Which boxes (n, 4) coincide with none before them that stays."""
    coincide = iou(corners, corners) > overlap
    stay: list[int] = []
    for index in range(len(corners)):
        if not coincide[index, stay].any():
            stay.append(index)
    return np.array(stay, np.int64)


def _still_lost(
    state: State, seen: npt.NDArray[np.bool_], room: int, patience: int
) -> npt.NDArray[np.int64]:
    """Which tracks are tried again in the next frame, those that were lost last first."""
    lost = np.flatnonzero(~seen & (state.lost < patience))
    return lost[np.argsort(state.lost[lost], kind="stable")][:room]
