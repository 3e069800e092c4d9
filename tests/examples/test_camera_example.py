from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawing import COLOURS
from PIL import Image

from tests.examples.conftest import EXAMPLES
from tests.examples.mjpeg_camera import NetworkCamera
from tests.examples.red_square import SIDE, frame

PLACES = [(10, 20), (60, 30), (100, 70)]
# A cell of the detector's grid is 160 / 64 pixels wide, and an edge may fall anywhere in one.
_CELL = 2.5


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of frames in which the square moves through `PLACES`."""
    folder = tmp_path_factory.mktemp("clip")
    for index, place in enumerate(PLACES):
        Image.fromarray(frame(*place)).save(folder / f"{index:03d}.png")
    return folder


def camera(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, EXAMPLES / "camera.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def refused(*arguments: str | Path) -> str:
    """The one line of an error; nothing else may be printed."""
    ran = camera(*arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("camera: ") and ran.stderr.count("\n") == 1, ran.stderr
    return ran.stderr


def test_a_model_of_how_to_embed_is_short() -> None:
    assert len((EXAMPLES / "camera.py").read_text().splitlines()) < 80


def test_lines_of_json_have_the_boxes_of_every_frame(bundle: Path, clip: Path) -> None:
    ran = camera(bundle, f"gate={clip}", clip)
    assert (ran.returncode, ran.stderr) == (0, "")
    lines: dict[str, list[Any]] = {"gate": [], str(clip): []}
    for line in map(json.loads, ran.stdout.splitlines()):
        lines[line["source"]].append(line)
    for found in lines.values():
        assert [line["frame"] for line in found] == [0, 1, 2]
        for line, (left, top) in zip(found, PLACES, strict=True):
            (thing,) = line["objects"]
            assert thing["label"] == "square"
            truth = np.array([left, top, left + SIDE, top + SIDE])
            assert np.abs(np.array(thing["box"]) - truth).max() <= _CELL


def test_a_video_shows_the_boxes(bundle: Path, clip: Path, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    ran = camera(bundle, clip, "--video", tmp_path / "found.mp4")
    assert (ran.returncode, ran.stdout) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["found.mp4"]  # no unfinished file is left
    video = cv2.VideoCapture(str(tmp_path / "found.mp4"))
    for left, top in PLACES:
        there, picture = video.read()
        assert there and picture.shape == (120, 160, 3)
        # Between the label and the right edge of a box only its lower edge is sure to be visible.
        line = picture[top + SIDE - 6 : top + SIDE + 4, left + 10 : left + 30, ::-1].astype(int)
        distance = np.abs(line - COLOURS[0]).max(axis=2).min(axis=0)
        # The codec halves the resolution of colour: boxes are up to 60 away, a red edge is 137.
        assert np.median(distance) < 95
    assert not video.read()[0]


def test_every_source_has_a_video_of_its_own(bundle: Path, clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    ran = camera(bundle, f"gate={clip}", f"yard={clip}", "--video", tmp_path / "found.mkv")
    assert ran.returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found-gate.mkv", "found-yard.mkv"]


def test_a_video_does_not_replace_what_is_there(bundle: Path, clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    kept = tmp_path / "kept.mp4"
    kept.write_bytes(b"the only recording")
    assert "kept.mp4" in refused(bundle, clip, "--video", kept)
    assert kept.read_bytes() == b"the only recording"


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 frames, each of other noise: a video of them has more than 64 KiB."""
    folder = tmp_path_factory.mktemp("long")
    for left in range(40):
        Image.fromarray(frame(left, 30)).save(folder / f"{left:03d}.png")
    return folder


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi"])
def test_a_video_that_lacks_frames_does_not_get_its_name(
    bundle: Path, clip: Path, long_clip: Path, tmp_path: Path, suffix: str
) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    # A file cannot grow beyond the limit (in 512 bytes), as on a disk that is full.
    limited = ["sh", "-c", 'ulimit -f 128; exec "$@"', "sh", sys.executable]
    sources = [f"gate={clip}", f"yard={long_clip}"]
    video = tmp_path / f"found{suffix}"
    ran = subprocess.run(
        [*limited, EXAMPLES / "camera.py", bundle, *sources, "--video", video],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (2, "")
    said = re.fullmatch(
        r"camera: (.*) holds (\d+) of 40 frames; make space and run again\n", ran.stderr
    )
    assert said is not None, ran.stderr
    unfinished = f"found-yard.part{suffix}"
    assert Path(said[1]).name == unfinished and 0 <= int(said[2]) < 40
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"found-gate{suffix}", unfinished]


def test_mistakes_are_one_line(bundle: Path, clip: Path, tmp_path: Path) -> None:
    assert "nowhere" in refused(bundle, "nowhere.mp4")
    assert "nowhere" in refused(tmp_path / "nowhere", clip)
    assert "NAME=SOURCE" in refused(bundle, clip, clip)
    assert "2 sources are called a;" in refused(bundle, f"a={clip}", f"a={clip / '000.png'}")
    assert "empty" in refused(bundle, "gate=")
    assert "max_delay_ms" in refused(bundle, clip, "--max-delay-ms", "-1")
    assert ".mp4" in refused(bundle, clip, "--video", tmp_path / "found.txt")
    assert "folder" in refused(bundle, clip, "--video", tmp_path / "nowhere" / "found.mp4")


def test_a_bundle_that_does_not_run_is_said_once(bundle: Path, clip: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(bundle, tmp_path / "elsewhere")
    manifest = elsewhere / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"onnxruntime"', '"tensorrt"'))
    refused(elsewhere, clip)


def test_a_source_without_a_frame_is_a_mistake(bundle: Path, clip: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.png"
    torn.write_bytes((clip / "000.png").read_bytes()[:100])
    ran = camera(bundle, f"torn={torn}", f"good={clip}")
    assert ran.returncode == 2
    assert {json.loads(line)["source"] for line in ran.stdout.splitlines()} == {"good"}
    why, end = ran.stderr.splitlines()
    assert "torn.png is not a readable image" in why
    assert end == "camera: no frame came from torn"


def running(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, EXAMPLES / "camera.py", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_signal_ends_it_after_a_whole_line(bundle: Path, number: signal.Signals) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    with NetworkCamera() as gate, running(bundle, f"gate={gate.address}") as program:
        assert program.stdout is not None
        first = program.stdout.readline()
        program.send_signal(number)
        rest, complaints = program.communicate(timeout=40)
    assert (program.returncode, complaints) == (0, "")
    for line in [first, *rest.splitlines()]:
        assert json.loads(line)["source"] == "gate"


def test_a_video_is_complete_when_a_signal_ends_it(bundle: Path, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    unfinished = tmp_path / "found.part.avi"
    with (
        NetworkCamera() as gate,
        running(bundle, gate.address, "--video", tmp_path / "found.avi") as program,
    ):
        while not unfinished.exists():
            assert program.poll() is None
            time.sleep(0.02)  # between looks
        program.send_signal(signal.SIGTERM)
        _, complaints = program.communicate(timeout=40)
    assert (program.returncode, complaints) == (0, "")
    assert not unfinished.exists()
    assert cv2.VideoCapture(str(tmp_path / "found.avi")).read()[0]


def test_a_reader_that_has_enough_is_no_error(bundle: Path, clip: Path) -> None:
    with running(bundle, *[f"{n}={clip}" for n in range(8)]) as program:
        assert program.stdout is not None and program.stderr is not None
        program.stdout.close()
        assert program.stderr.read() == ""
    assert program.returncode == 0
