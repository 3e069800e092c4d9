"""Letterboxing against Pillow's `ImageOps.pad`, and boxes there and back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from runtime import Engine, Preprocess
from runtime.manifest import TensorInfo
from runtime.tasks.detection import detect
from tests.runtime.bundles import DETECTOR, solid, write_bundle

LETTERBOX = Preprocess("letterbox", 96, fill=114)
# One of these sizes is square, one already fits, one is enlarged.
SIZES = [(96, 96), (60, 96), (1080, 1920), (333, 100), (20, 31), (97, 95)]
LINES = [(1, 500), (500, 1)]  # whose shorter side rounds to no pixel, where Pillow gives up


@pytest.mark.parametrize("interpolation", ["nearest", "lanczos", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_letterboxed_frames_equal_pillows(size: tuple[int, int], interpolation: str) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    ours = Preprocess("letterbox", 96, interpolation=interpolation, fill=114)
    # Pillow numbers its filters: nearest 0, lanczos 1, bilinear 2, bicubic 3.
    method = ["nearest", "lanczos", "bilinear", "bicubic"].index(interpolation)
    theirs = ImageOps.pad(Image.fromarray(frame), (96, 96), method, color=(114, 114, 114))
    np.testing.assert_array_equal(ours.prepare(frame).images[0], theirs)


@pytest.mark.parametrize("size", SIZES + LINES, ids=str)
def test_the_region_is_what_the_frame_covers(size: tuple[int, int]) -> None:
    prepared = LETTERBOX.prepare(solid(255, 255, 255, *size))
    left, top, right, bottom = np.array(prepared.regions[0]) * 96
    covered = np.zeros((96, 96), bool)
    covered[round(top) : round(bottom), round(left) : round(right)] = True
    assert covered.any()
    np.testing.assert_array_equal(prepared.images[0][..., 0], np.where(covered, 255, 114))


@pytest.mark.parametrize("size", [(1080, 1920), (333, 100), (97, 95), (10, 10)], ids=str)
def test_boxes_go_into_the_letterbox_and_back(size: tuple[int, int]) -> None:
    height, width = size
    corners = np.array([[0, 0, width, height], [0.1, 0.2, 0.6, 0.9] * np.tile(size[::-1], 2)])
    scale = 96 / max(size)
    # By hand, without the rounding to whole pixels that the region takes part in.
    margin = np.tile([(96 - width * scale) / 2, (96 - height * scale) / 2], 2)
    placed = (corners * scale + margin) / 96
    boxes = np.hstack([(placed[:, :2] + placed[:, 2:]) / 2, placed[:, 2:] - placed[:, :2]])
    logits = np.tile(np.float32([9, 0]), (1, 2, 1))
    regions = LETTERBOX([np.zeros((*size, 3), np.uint8)]).regions
    (found,) = detect(logits, boxes[None], [size], ["thing"], regions=regions)
    # The frame's edges and its place are rounded, by half a pixel of the letterbox each.
    np.testing.assert_allclose(found.boxes, corners, atol=1 / scale)


def test_a_drawn_box_comes_back_to_the_pixel() -> None:
    frame = solid(0, 0, 0, 48, 192)
    frame[16:32, 64:128] = 255
    (region,), image = LETTERBOX([frame]).regions, LETTERBOX.prepare(frame).images[0]
    rows, columns = (np.flatnonzero((image == 255).all(2).any(axis)) for axis in (1, 0))
    left, top, right, bottom = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    box = np.float32([[[(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]]])
    logits = np.float32([[[9, 0]]])
    (found,) = detect(logits, box / 96, [(48, 192)], ["thing"], regions=[region])
    # Half a grey pixel on each side of the drawn ones, at twice the size; float32 products.
    np.testing.assert_allclose(found.boxes, [[64, 16, 128, 32]], atol=2 + 1e-4)


# One box in the middle of the input, of half its width and a quarter of its height.
BOXED = """<ir_version: 10, opset_import: ["" : 20]>
boxed (float[batch, 3, 96, 96] pixel_values)
    => (float[batch, 1, 3] logits, float[batch, 1, 4] pred_boxes)
<float[1, 1, 3] sure = {9.0, 0.0, 0.0}, float[1, 1, 4] box = {0.5, 0.5, 0.5, 0.25},
 int64[3] axes = {1, 2, 3}, int64[3] row = {-1, 1, 1}, float nothing = {0.0}> {
    means = ReduceMean<keepdims = 0>(pixel_values, axes)
    none = Mul(means, nothing)
    column = Reshape(none, row)
    logits = Add(column, sure)
    pred_boxes = Add(column, box)
}"""


def test_an_engine_gives_boxes_of_the_frame(tmp_path: Path) -> None:
    manifest = dataclasses.replace(
        DETECTOR,
        inputs=(TensorInfo("pixel_values", "float32", ("batch", 3, 96, 96)),),
        preprocess=LETTERBOX,
    )
    with Engine.load(write_bundle(tmp_path / "boxed", manifest, BOXED), verify=False) as engine:
        lying, square = engine([solid(0, 0, 0, 48, 192), solid(0, 0, 0, 192, 192)])
    # By hand: the lying frame has a quarter of the letterbox's height, which the box covers.
    np.testing.assert_array_equal(lying.boxes, [[48, 0, 144, 48]])
    np.testing.assert_array_equal(square.boxes, [[48, 72, 144, 120]])


def test_a_cropped_frames_boxes_are_placed_too() -> None:
    crop = Preprocess("shortest_edge", 64, crop=32)
    (region,) = crop([np.zeros((64, 128, 3), np.uint8)]).regions
    assert region == (-1.5, -0.5, 2.5, 1.5)  # by hand: 128 x 64 around 32 x 32
    box, logits = np.float32([[[0.5, 0.5, 1, 1]]]), np.float32([[[9, 0]]])
    (found,) = detect(logits, box, [(64, 128)], ["thing"], regions=[region])
    np.testing.assert_array_equal(found.boxes, [[48, 16, 80, 48]])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param({"fill": 256}, ValueError, "fill is 256 .*give 0 to 255", id="above"),
        pytest.param({"fill": -1}, ValueError, "fill is -1", id="below"),
        pytest.param({"fill": 1.0}, TypeError, "fill is 1.0; give an integer", id="float"),
        pytest.param({"fill": True}, TypeError, "fill is True", id="bool"),
        pytest.param({"resize": "exact", "fill": 1}, ValueError, "'exact'", id="without letterbox"),
        pytest.param({"crop": 8}, ValueError, "with crop or pad; leave those out", id="crop"),
        pytest.param({"pad": True}, ValueError, "with crop or pad; leave those out", id="pad"),
        pytest.param({"max_size": 500}, ValueError, "needs 'shortest_edge'", id="max_size"),
    ],
)
def test_fields_of_a_letterbox(
    change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Preprocess.from_dict({"resize": "letterbox", "size": 96} | change)


def test_older_records_mean_what_they_did() -> None:
    # As manifests had it before there was a letterbox, and as older runtimes read it.
    older = {
        "resize": "exact", "size": 8, "max_size": None, "crop": None, "interpolation": "bilinear",
        "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "color": "RGB", "pad": False,
    }  # fmt: skip
    assert Preprocess.from_dict(older) == Preprocess(size=8)
    assert Preprocess.from_dict(older).to_dict() == older
    assert Preprocess.from_dict(LETTERBOX.to_dict()) == LETTERBOX
