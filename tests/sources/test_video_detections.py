"""A rendered clip, encoded, read back and given to an engine: the boxes are where they were."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import Engine
from runtime.drift.overlap import iou
from runtime.sources import open_source
from tests.sources.clips import moving_figures, write_h264, write_with_opencv

pytest.importorskip("cv2", reason="needs opencv-python-headless")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
# A box counts as found at this overlap in COCO's first metric. On the rendered frames themselves
# the overlaps of this clip are 0.80 at least.
FOUND = 0.5


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The tiny detector's, in FP32, which builds fastest."""
    out = tmp_path_factory.mktemp("detector")
    command = [sys.executable, "export/build.py", "--model", "detr_tiny_shapes"]
    options = ["--precision", "fp32", "--images", "8", "--out", out, "--json"]
    subprocess.run([*command, *options], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    with Engine.load(out / "detr_tiny_shapes-fp32-cpu") as loaded:
        yield loaded


@pytest.mark.parametrize("codec", ["H.264", "MJPEG"])
def test_the_figures_of_every_frame_are_found(engine: Engine, codec: str, tmp_path: Path) -> None:
    clip = moving_figures(30)
    if codec == "H.264":
        path = write_h264(tmp_path / "clip.mp4", clip.frames)
    else:
        path = write_with_opencv(tmp_path / "clip.avi", clip.frames, "MJPG")
    source = open_source(path)
    found = engine(list(source.connect()), pixels=source.pixels)
    assert len(found) == len(clip.frames)
    for number, (detections, boxes) in enumerate(zip(found, clip.boxes, strict=True)):
        overlaps = iou(detections.boxes, boxes)
        for index, label in enumerate(clip.labels):
            same = overlaps[detections.indices == label, index]
            assert same.max(initial=0.0) > FOUND, f"frame {number}, figure {index}"
