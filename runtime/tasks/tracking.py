"""Tracking: what a frame shows, and which of it earlier frames have shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from runtime.batch import Batch
from runtime.drift.identity import Row
from runtime.drift.tracking import METRICS, estimate
from runtime.tasks.task import MAIN, Answer, Drift, Graph, Outputs, Prediction, Task, answers_of
from runtime.tasks.tracks import ClipTracks, Tracks, tracks_of
from runtime.tasks.truths import read_records
from runtime.track_queries import Rules, State, advance


def read_tracks(folder: Path) -> dict[str, Any]:
    """The tracks of each clip by name, from a folder's `tracks.json`; empty where there is none.

    It is a list of `{"file": name, "frames": [[[x1, y1, x2, y2, id], ...], ...]}`.

    Raises:
        EngineError: it holds something else.
    """
    form = '{"file": name, "frames": [[[x1, y1, x2, y2, id], ...], ...]}'
    return read_records(folder / "tracks.json", "tracks", form, _true_rows)


def _true_rows(record: Mapping[str, Any]) -> tuple[Row, ...]:
    frames = [np.asarray(rows, np.float32).reshape(-1, 5) for rows in record["frames"]]
    return tuple(Row(rows[:, 4].astype(np.int64), rows[:, :4]) for rows in frames)


def _predict(
    outputs: Outputs, batch: Batch, labels: Sequence[str], threshold: float
) -> list[Prediction]:
    """Of frames by themselves, whose tracks are numbered from 0; or of what `_followed` gave."""
    if "ids" not in outputs:
        if max(batch.counts) > 1:
            raise ValueError(
                "found a clip; give its frames one after another to runtime.tracker.Tracker"
            )
        rules, ids = Rules(detect=threshold, keep=threshold), []
        for row in range(len(batch.counts)):
            mine = {name: outputs[name][row] for name in TASK.outputs}
            ids.append(advance(*_given(batch, row), mine, rules)[1])
        outputs = {**outputs, "ids": np.stack(ids)}
    found: list[Prediction] = []
    for answer in answers_of(outputs, batch):
        frames = tuple(_frame(answer, index, labels) for index in range(len(answer.regions)))
        found.append(frames[0] if len(frames) == 1 else ClipTracks(frames))
    return found


def _frame(answer: Answer, index: int, labels: Sequence[str]) -> Tracks:
    mine = {name: output[index] for name, output in answer.outputs.items()}
    return tracks_of(mine, mine["ids"], answer.frame_size, answer.regions[index], labels)


def _given(batch: Batch, row: int) -> tuple[State, int]:
    """The tracks that an image was given, and how many the model takes."""
    mask = batch.inputs["track_mask"][row]
    return State.of(batch.inputs["track_queries"][row][mask > 0]), len(mask)


def _followed(graph: Graph, outputs: Outputs, batch: Batch) -> Outputs:
    """What each frame shows when the frames of a clip are given one after another.

    Frames at the same place of their clips go together. `ids` says which output is which track.
    """
    ends = np.cumsum(batch.counts)
    logits, boxes = np.array(outputs["logits"]), np.array(outputs["pred_boxes"])
    ids = np.full(logits.shape[:2], -1)
    states: dict[int, State] = {}
    most = batch.inputs["track_mask"].shape[1]
    for time in range(max(batch.counts)):
        places = [place for place, count in enumerate(batch.counts) if time < count]
        rows = [int(ends[place]) - batch.counts[place] + time for place in places]
        if time == 0:
            states = {place: _given(batch, row)[0] for place, row in zip(places, rows, strict=True)}
            found = {name: output[rows] for name, output in outputs.items()}
        else:
            tracks = [states[place].inputs(most) for place in places]
            inputs = {name: np.concatenate([one[name] for one in tracks]) for name in tracks[0]}
            images = {"pixel_values": batch.inputs["pixel_values"][rows]}
            found = dict(graph.run({**images, **inputs}))
        logits[rows], boxes[rows] = found["logits"], found["pred_boxes"]
        for index, (place, row) in enumerate(zip(places, rows, strict=True)):
            mine = {name: output[index] for name, output in found.items()}
            states[place], ids[row] = advance(states[place], most, mine)
    return {"logits": logits, "pred_boxes": boxes, "ids": ids}


def _comparable(answer: Answer, labels: Sequence[str]) -> tuple[Row, ...]:
    """The tracks of each frame; one of no place stands for a frame whose answer is not finite."""
    found = []
    for index in range(len(answer.regions)):
        if all(np.isfinite(output[index]).all() for output in answer.outputs.values()):
            tracks = _frame(answer, index, labels)
            found.append(Row(tracks.ids, tracks.boxes))
        else:
            found.append(Row(np.array([-1]), np.full((1, 4), np.nan, np.float32)))
    return tuple(found)


TASK = Task(
    outputs=("logits", "pred_boxes", "hidden"),
    predict=_predict,
    comparable=_comparable,
    decisions=lambda outputs: outputs["logits"].argmax(-1),
    read_truths=read_tracks,
    drift=Drift(METRICS, estimate),
    whole=lambda graphs, labels: partial(_followed, graphs[MAIN]),
)
