"""A detector of red squares that is right by construction, and cameras that show one."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime import EngineError
from runtime.golden import Golden, save_golden
from runtime.manifest import GoldenInfo, TensorInfo
from tests.runtime.bundles import CLASSIFIER, PLAIN, write_model

GRID = 64  # pixels a side that the detector sees
SIDE, HEIGHT, WIDTH = 40, 120, 160  # pixels of the square and of its frame

# The box is between the first and the last column and row that hold a red pixel.
DETECTOR = """<ir_version: 10, opset_import: ["" : 20]>
red_square (float[batch, 3, 64, 64] pixel_values)
    => (float[batch, 1, 2] logits, float[batch, 1, 4] pred_boxes)
<int64 zero = {0}, int64 first = {1}, int64[1] ones = {1}, int64[1] twos = {2},
 int64[2] both = {1, 2}, int64[3] row = {-1, 1, 1}, float limit = {0.5}, float half = {0.5},
 float one = {1.0}, float[4] sides = {128.0, 128.0, 64.0, 64.0}, float steep = {20.0}> {
    red = Gather<axis = 1>(pixel_values, zero)
    green = Gather<axis = 1>(pixel_values, first)
    excess = Sub(red, green)
    hit = Greater(excess, limit)
    mask = Cast<to = 1>(hit)
    columns = ReduceMax<keepdims = 0>(mask, ones)
    rows = ReduceMax<keepdims = 0>(mask, twos)
    left_index = ArgMax<axis = 1>(columns)
    right_index = ArgMax<axis = 1, select_last_index = 1>(columns)
    top_index = ArgMax<axis = 1>(rows)
    bottom_index = ArgMax<axis = 1, select_last_index = 1>(rows)
    left = Cast<to = 1>(left_index)
    top = Cast<to = 1>(top_index)
    last_column = Cast<to = 1>(right_index)
    last_row = Cast<to = 1>(bottom_index)
    right = Add(last_column, one)
    bottom = Add(last_row, one)
    twice_x = Add(left, right)
    twice_y = Add(top, bottom)
    width = Sub(right, left)
    height = Sub(bottom, top)
    cells = Concat<axis = 1>(twice_x, twice_y, width, height)
    shares = Div(cells, sides)
    pred_boxes = Unsqueeze(shares, ones)
    found = ReduceMax<keepdims = 0>(mask, both)
    centred = Sub(found, half)
    yes_flat = Mul(centred, steep)
    yes = Reshape(yes_flat, row)
    no = Neg(yes)
    logits = Concat<axis = 2>(yes, no)
}"""
MANIFEST = dataclasses.replace(
    CLASSIFIER,
    model="red_square",
    task="detection",
    inputs=(TensorInfo("pixel_values", "float32", ("batch", 3, GRID, GRID)),),
    outputs=(
        TensorInfo("logits", "float32", ("batch", 1, 2)),
        TensorInfo("pred_boxes", "float32", ("batch", 1, 4)),
    ),
    preprocess=dataclasses.replace(PLAIN, size=GRID),
    labels=("square",),
    golden=GoldenInfo(min_cosine=0.9999, probes=2),
)


def frame(left: int, top: int) -> NDArray[np.uint8]:
    """A red square of 40 pixels on grey noise, RGB."""
    grey = np.random.default_rng(left + WIDTH * top).integers(60, 90, (HEIGHT, WIDTH, 1))
    image = np.repeat(grey.astype(np.uint8), 3, axis=2)
    image[top : top + SIDE, left : left + SIDE] = (220, 20, 30)
    return image


def write_detector(folder: Path) -> Path:
    """A bundle whose golden answers are computed by hand."""
    folder.mkdir()
    write_model(folder / "model.onnx", DETECTOR)
    frames, answers = [], []
    for left, top, side in ((8, 16, 20), (30, 4, 32)):
        image = np.full((GRID, GRID, 3), 70, np.uint8)
        image[top : top + side, left : left + side] = (220, 20, 30)
        box = np.array([left + side / 2, top + side / 2, side, side], np.float32) / GRID
        frames.append(image)
        answers.append({"logits": np.float32([[10, -10]]), "pred_boxes": box[None]})
    save_golden(folder / "golden.npz", Golden(frames, answers))
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    (folder / "manifest.json").write_text(dataclasses.replace(MANIFEST, files=files).to_json())
    return folder


class Camera:
    """A source that shows the square where `place` says, until it is cut off."""

    def __init__(self, left: int = 20, top: int = 30) -> None:
        self.place = (left, top)
        self._there = threading.Event()
        self._there.set()
        self._pace = threading.Event()

    def cut(self) -> None:
        """Pull the cable."""
        self._there.clear()

    def repair(self) -> None:
        """Plug it in again."""
        self._there.set()

    def __call__(self) -> Iterator[NDArray[np.uint8]]:
        while self._there.is_set():
            yield frame(*self.place)
            self._pace.wait(0.04)  # 25 frames a second
        raise EngineError("the cable is out")
