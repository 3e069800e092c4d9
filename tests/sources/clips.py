"""Moving figures whose boxes are known, and video files of them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shapes import paint
from shapes.figures import DETECTION_NAMES, outline

RATE = 10  # frames a second
HEIGHT, WIDTH = 120, 160
# Between a decoded frame and the rendered one: 27.6 dB at least, as video halves the resolution of
# colour. Between it and the rendered one before or after: 22.1 dB at most where there are 30.
GOOD_DB = 26.0
_RADIUS = 20.0  # as the middle sizes of the Shapes scenes
_LANES = (32.0, 88.0)  # rows of the figures' centres: far enough apart never to overlap


@dataclass(frozen=True)
class Clip:
    """Frames with the truth about each.

    Attributes:
        frames: uint8 (H, W, 3) RGB.
        boxes: of each frame, float32 (2, 4) xyxy pixels.
        labels: int64 (2,), indices into `DETECTION_NAMES`, the same in all frames.
    """

    frames: list[NDArray[np.uint8]]
    boxes: list[NDArray[np.float32]]
    labels: NDArray[np.int64]


def moving_figures(count: int, *, seed: int = 5, height: int = HEIGHT, width: int = WIDTH) -> Clip:
    """Two figures that cross the picture in opposite directions, over a still background."""
    rng = np.random.default_rng(seed)
    back, _ = paint.palette(rng)
    background = paint.background(rng, back, height, width)
    labels = rng.choice(len(DETECTION_NAMES), 2, replace=False)
    shapes = [outline(DETECTION_NAMES[label]) * _RADIUS for label in labels]
    fills = [paint.texture(rng, paint.figure_colors(rng, back), height, width) for _ in shapes]
    frames, boxes = [], []
    for x in np.linspace(1.5 * _RADIUS, width - 1.5 * _RADIUS, count):
        canvas = background.copy()
        found = []
        centres = np.array([(x, _LANES[0]), (width - x, _LANES[1])])
        for shape, fill, centre in zip(shapes, fills, centres, strict=True):
            alpha = paint.coverage(shape + centre, height, width)
            canvas += alpha[..., None] * (fill - canvas)
            rows, columns = (np.nonzero((alpha >= 0.5).any(axis=axis))[0] for axis in (1, 0))
            found.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
        frames.append((canvas.clip(0, 1) * 255 + 0.5).astype(np.uint8))
        boxes.append(np.array(found, np.float32))
    return Clip(frames, boxes, labels.astype(np.int64))


def write_with_opencv(path: Path, frames: list[NDArray[np.uint8]], codec: str) -> Path:
    """Encode with OpenCV's writer; `codec` is its four letters."""
    import cv2

    height, width = frames[0].shape[:2]
    fourcc = cv2.VideoWriter.fourcc(*codec)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, RATE, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame[..., ::-1])
    writer.release()
    return path


def write_h264(
    path: Path, frames: list[NDArray[np.uint8]], *options: str, rate: int = RATE
) -> Path:
    """Encode with the program ffmpeg, nearly without loss; it goes into what the name says."""
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("needs the program ffmpeg")
    height, width = frames[0].shape[:2]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate)]
    made = subprocess.run(
        [
            program, "-y", "-v", "error", *raw, "-i", "-", "-c:v", "libx264", "-crf", "10",
            "-pix_fmt", "yuv420p", *options, str(path),
        ],
        input=b"".join(frame.tobytes() for frame in frames), capture_output=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return path


def psnr(found: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB."""
    error = np.square(found.astype(np.float64) - wanted).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))
