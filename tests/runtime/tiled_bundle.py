"""A bundle whose model makes negatives of tiles, twice as large, so that every answer is known."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from runtime.golden import Golden, save_golden
from runtime.manifest import GoldenInfo, TensorInfo
from runtime.preprocess import Preprocess
from runtime.tiles import cut
from tests.runtime.bundles import CLASSIFIER, write_model

SIDE, OVERLAP = 8, 2

NEGATIVE = """<ir_version: 10, opset_import: ["" : 20]>
negative (float[batch, 3, 8, 8] pixel_values) => (float[batch, 3, 16, 16] restored)
<float[4] scales = {1.0, 1.0, 2.0, 2.0}, float[1] one = {1.0}> {
    negative = Sub(one, pixel_values)
    restored = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric",
                      nearest_mode = "floor">(negative, , scales)
}"""

TILED = dataclasses.replace(
    CLASSIFIER,
    model="negative",
    task="restoration",
    outputs=(TensorInfo("restored", "float32", ("batch", 3, 16, 16)),),
    preprocess=Preprocess(
        resize="tiles", size=SIDE, overlap=OVERLAP, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
    ),
    labels=(),
    golden=GoldenInfo(min_cosine=0.9999, probes=2),
)


def textured(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def negative(frame: np.ndarray) -> np.ndarray:
    """What the model makes of a frame (…, H, W, 3), or of its tiles."""
    return (255 - frame).repeat(2, axis=-3).repeat(2, axis=-2)


def write_tiled_bundle(folder: Path, backend: str = "onnxruntime") -> Path:
    """Its probes are a frame of one tile's size, and a smaller one, which is mirrored."""
    folder.mkdir()
    write_model(folder / "model.onnx", NEGATIVE)
    frames = [textured(8, 8), textured(5, 3)]
    answers = []
    for frame in frames:
        (tile,), _ = cut(frame, SIDE, OVERLAP)
        answers.append({"restored": negative(tile).transpose(2, 0, 1) / np.float32(255)})
    save_golden(folder / "golden.npz", Golden(frames, answers))
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    engine = dataclasses.replace(TILED.engine, backend=backend)
    manifest = dataclasses.replace(TILED, files=files, engine=engine)
    (folder / "manifest.json").write_text(manifest.to_json())
    return folder
