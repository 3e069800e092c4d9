"""A bundle of a tracker whose every answer is known: it sees one square, while the frame is red."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from runtime.golden import Golden, save_golden
from runtime.manifest import GoldenInfo, TensorInfo
from runtime.preprocess import Preprocess
from runtime.tracked import Tracked
from tests.runtime.bundles import CLASSIFIER, solid, write_model

RED, BLACK = solid(255, 0, 0), solid(0, 0, 0)

# Two tracks and one object query. Each that is there is sure of "square" in a red frame, and of
# nothing in another. Its box is the middle of the frame; `hidden` counts the frames of its track.
SQUARE = """<ir_version: 10, opset_import: ["" : 20]>
square (float[batch, 3, 8, 8] pixel_values, float[batch, 2, 2] track_queries,
        float[batch, 2] track_mask)
    => (float[batch, 3, 2] logits, float[batch, 3, 4] pred_boxes, float[batch, 3, 2] hidden)
<int64[2] axes = {2, 3}, int64[1] zero = {0}, int64[1] one = {1}, int64[1] last = {2},
 float[1] half = {0.5}, float[1] unit = {1.0}, float[1] sure = {20.0},
 float[1, 1, 4] box = {0.5, 0.5, 0.5, 0.5}> {
    colour = ReduceMean<keepdims = 0>(pixel_values, axes)
    red = Slice(colour, zero, one, one)
    nothing = Sub(red, red)
    something = Add(nothing, unit)
    present = Concat<axis = 1>(track_mask, something)
    above = Sub(red, half)
    score = Mul(above, sure)
    shown = Mul(score, present)
    missing = Sub(present, unit)
    unsure = Mul(missing, sure)
    row = Add(shown, unsure)
    square = Unsqueeze(row, last)
    background = Sub(square, square)
    logits = Concat<axis = 2>(square, background)
    pred_boxes = Add(background, box)
    column = Unsqueeze(nothing, last)
    fresh = Concat<axis = 2>(column, column)
    before = Concat<axis = 1>(track_queries, fresh)
    hidden = Add(before, unit)
}"""

TRACKER = dataclasses.replace(
    CLASSIFIER,
    model="square",
    task="tracking",
    inputs=(
        TensorInfo("pixel_values", "float32", ("batch", 3, 8, 8)),
        TensorInfo("track_queries", "float32", ("batch", 2, 2)),
        TensorInfo("track_mask", "float32", ("batch", 2)),
    ),
    outputs=(
        TensorInfo("logits", "float32", ("batch", 3, 2)),
        TensorInfo("pred_boxes", "float32", ("batch", 3, 4)),
        TensorInfo("hidden", "float32", ("batch", 3, 2)),
    ),
    preprocess=Tracked(
        Preprocess(resize="exact", size=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)), 2, 2
    ),
    labels=("square",),
    golden=GoldenInfo(min_cosine=0.9999, probes=2),
)


def write_tracking_bundle(folder: Path, backend: str = "onnxruntime") -> Path:
    """Its probes are a red frame without tracks, and one with a track."""
    folder.mkdir()
    write_model(folder / "model.onnx", SQUARE)
    items = [RED, {"frame": RED, "track_queries": np.float32([[3, 4]])}]
    boxes = np.full((3, 4), 0.5, np.float32)
    answers = [
        {
            "logits": np.float32([[10 if there else -20, 0] for there in (tracked, False, True)]),
            "pred_boxes": boxes,
            "hidden": np.float32([[4, 5] if tracked else [1, 1], [1, 1], [1, 1]]),
        }
        for tracked in (False, True)
    ]
    save_golden(folder / "golden.npz", Golden(items, answers))
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    engine = dataclasses.replace(TRACKER.engine, backend=backend)
    manifest = dataclasses.replace(TRACKER, files=files, engine=engine)
    (folder / "manifest.json").write_text(manifest.to_json())
    return folder
