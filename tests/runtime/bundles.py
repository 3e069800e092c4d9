"""Tiny models with known answers, and bundles around them."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import onnx.parser
from numpy.typing import NDArray

from runtime.golden import Golden, save_golden
from runtime.manifest import EngineInfo, GoldenInfo, Manifest, TensorInfo
from runtime.preprocess import Preprocess

BACKENDS = ("onnxruntime", "openvino")

# Logits are the mean of each channel: for a frame of one colour, that colour normalised.
MEAN_COLOUR = """<ir_version: 10, opset_import: ["" : 20]>
mean_colour (float[batch, 3, 8, 8] pixel_values) => (float[batch, 3] logits)
<int64[2] axes = {2, 3}> { logits = ReduceMean<keepdims = 0>(pixel_values, axes) }"""

# Boxes are constant, logits follow the share of the padded batch that is image, so that a
# mask which does not arrive is seen.
MASKED = """<ir_version: 10, opset_import: ["" : 20]>
masked (float[batch, 3, height, width] pixel_values, int64[batch, height, width] pixel_mask)
    => (float[batch, 1, 3] logits, float[batch, 1, 4] pred_boxes)
<int64[2] hw = {2, 3}, int64[2] mask_hw = {1, 2}, int64[3] row = {-1, 1, 1},
 float[1, 1, 4] box = {0.5, 0.5, 1.0, 0.5}, float[1, 1, 3] slope = {10.0, 0.0, 5.0}> {
    share_image = Cast<to = 1>(pixel_mask)
    share = ReduceMean<keepdims = 0>(share_image, mask_hw)
    column = Reshape(share, row)
    logits = Mul(column, slope)
    colour = ReduceMean<keepdims = 0>(pixel_values, hw)
    zero = Sub(share, share)
    zeros = Reshape(zero, row)
    pred_boxes = Add(zeros, box)
}"""

PLAIN = Preprocess(resize="exact", size=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
CLASSIFIER = Manifest(
    model="mean_colour",
    task="classification",
    precision="fp32",
    target="cpu",
    engine=EngineInfo("onnxruntime", "1.0", "CPU"),
    files={},
    inputs=(TensorInfo("pixel_values", "float32", ("batch", 3, 8, 8)),),
    outputs=(TensorInfo("logits", "float32", ("batch", 3)),),
    preprocess=PLAIN,
    labels=("red", "green", "blue"),
    golden=GoldenInfo(min_cosine=0.9999, probes=2),
    precision_map={"head": {"type": "fp32", "why": "not quantised"}},
    source={"seed": 0},
)
DETECTOR = dataclasses.replace(
    CLASSIFIER,
    model="masked",
    task="detection",
    inputs=(
        TensorInfo("pixel_values", "float32", ("batch", 3, "height", "width")),
        TensorInfo("pixel_mask", "int64", ("batch", "height", "width")),
    ),
    outputs=(
        TensorInfo("logits", "float32", ("batch", 1, 3)),
        TensorInfo("pred_boxes", "float32", ("batch", 1, 4)),
    ),
    preprocess=dataclasses.replace(PLAIN, resize="shortest_edge", pad=True),
    labels=("whole", "part"),
)


def solid(red: int, green: int, blue: int, height: int = 8, width: int = 8) -> NDArray[np.uint8]:
    """A frame of one colour."""
    return np.full((height, width, 3), (red, green, blue), np.uint8)


def write_model(path: Path, text: str) -> Path:
    """Write the textual ONNX model `text` as a checked file."""
    model = onnx.parser.parse_model(text)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def write_bundle(
    folder: Path, manifest: Manifest = CLASSIFIER, text: str = MEAN_COLOUR, backend: str = ""
) -> Path:
    """Write a bundle whose golden answers are computed by hand, not by a back end."""
    folder.mkdir()
    write_model(folder / "model.onnx", text)
    if manifest.task == "classification":
        frames = [solid(255, 51, 0), solid(0, 102, 204, height=5, width=11)]
        answers = [{"logits": frame[0, 0] / np.float32(255)} for frame in frames]
    else:
        frames = [solid(9, 9, 9, 8, 16), solid(1, 2, 3, 24, 8)]
        box = np.array([[0.5, 0.5, 1.0, 0.5]], np.float32)
        answers = [{"logits": np.float32([[10, 0, 5]]), "pred_boxes": box}] * 2
    save_golden(folder / "golden.npz", Golden(frames, answers))
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    engine = dataclasses.replace(manifest.engine, backend=backend or manifest.engine.backend)
    manifest = dataclasses.replace(manifest, files=files, engine=engine)
    (folder / "manifest.json").write_text(manifest.to_json())
    return folder
