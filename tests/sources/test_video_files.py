"""Real encoded video: whole, cut short, damaged, of changing size, and no video at all."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.errors import EngineError
from runtime.sources import Item, open_source
from tests.sources.clips import (
    GOOD_DB,
    HEIGHT,
    WIDTH,
    Clip,
    moving_figures,
    psnr,
    write_h264,
    write_with_opencv,
)
from tests.sources.listening import read_all

cv2 = pytest.importorskip("cv2", reason="needs opencv-python-headless")

COUNT = 30
ROOT = Path(__file__).resolve().parents[2]
Frames = list[NDArray[np.uint8]]
WRITERS: dict[str, tuple[str, Callable[[Path, Frames], Path]]] = {
    "MJPEG in avi, by OpenCV": ("a.avi", lambda path, f: write_with_opencv(path, f, "MJPG")),
    "MPEG-4 in mp4, by OpenCV": ("a.mp4", lambda path, f: write_with_opencv(path, f, "mp4v")),
    "H.264 in mp4": ("a.mp4", write_h264),
    "H.264 in mkv": ("a.mkv", write_h264),
    "H.264 in a transport stream": ("a.ts", write_h264),
    "H.264 without a container": ("a.h264", write_h264),
}


@pytest.fixture(scope="module")
def clip() -> Clip:
    return moving_figures(COUNT)


def number(item: Item, clip: Clip) -> int | None:
    """Which frame of the clip this BGR frame is; None if it is none, or looks like none."""
    if isinstance(item, EngineError):
        return None
    likeness = [psnr(item[..., ::-1], wanted) for wanted in clip.frames]
    return int(np.argmax(likeness)) if max(likeness) > GOOD_DB else None


@pytest.mark.parametrize(("name", "write"), WRITERS.values(), ids=WRITERS)
def test_a_video_gives_each_frame_once_in_order(
    name: str, write: Callable[[Path, Frames], Path], clip: Clip, tmp_path: Path
) -> None:
    source = open_source(write(tmp_path / name, clip.frames))
    assert (source.live, source.reconnect, source.pixels) == (False, False, "BGR")
    heard = read_all(source)
    assert [number(captured.frame, clip) for captured in heard.frames] == list(range(COUNT))
    assert heard.ids == list(range(COUNT))
    assert heard.kinds == ["connected", "ended"]


@pytest.mark.parametrize("options", [("-movflags", "+faststart"), ()], ids=["mp4", "mkv"])
def test_a_video_that_breaks_off_gives_what_it_has_and_is_a_loss(
    options: tuple[str, ...], clip: Clip, tmp_path: Path
) -> None:
    name = "a.mp4" if options else "a.mkv"
    path = write_h264(tmp_path / name, clip.frames, "-bf", "0", *options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    heard = read_all(open_source(path))
    found = [number(captured.frame, clip) for captured in heard.frames]
    whole = [n for n in found if n is not None]
    assert 5 <= len(whole) < COUNT
    assert whole == list(range(len(whole)))
    assert len(found) - len(whole) <= 1  # the frame that the cut goes through, if it came
    assert heard.kinds[-2:] == ["lost", "ended"]
    assert f"of the {COUNT} frames that it announces: it breaks off" in heard.details("lost")[0]


def test_a_damaged_frame_is_counted_in_its_place(clip: Clip, tmp_path: Path) -> None:
    # Every frame is a whole picture, so that the damage stays in one.
    path = write_h264(tmp_path / "a.mp4", clip.frames, "-g", "1")
    probe = shutil.which("ffprobe")
    if probe is None:
        pytest.skip("needs the program ffprobe")
    show = ["-v", "error", "-show_entries", "packet=size,pos", "-of", "csv=p=0"]
    listed = subprocess.run([probe, *show, path], capture_output=True, text=True, check=True)
    size, position = map(int, listed.stdout.split()[10].strip(",").split(","))
    data = bytearray(path.read_bytes())
    data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    heard = read_all(open_source(path))
    found = [number(captured.frame, clip) for captured in heard.frames]
    assert found == [n for n in range(COUNT) if n != 10]
    assert len(heard.ids) == COUNT - 1
    assert heard.ids[-1] == COUNT - 1
    assert heard.kinds == ["connected", "corrupt", "ended"]
    assert "could not be decoded" in heard.details("corrupt")[0]


def test_any_damage_is_survived(clip: Clip, tmp_path: Path) -> None:
    rng = random.Random(3)
    whole = [
        write_h264(tmp_path / f"whole.{kind}", clip.frames).read_bytes()
        for kind in ("mp4", "mkv", "ts")
    ]
    path = tmp_path / "damaged"
    for attempt in range(60):
        data = bytearray(whole[attempt % len(whole)])
        for _ in range(rng.randrange(1, 20)):
            place = rng.randrange(len(data))
            data[place : place + 4] = rng.randbytes(4)
        path.write_bytes(data[: rng.choice([len(data), rng.randrange(1, len(data))])])
        heard = read_all(open_source(path))
        assert heard.kinds[-1] == "ended"
        assert heard.ids == sorted(set(heard.ids))
        for captured in heard.frames:
            assert (captured.frame.dtype, captured.frame.shape[2]) == (np.uint8, 3)


def test_a_change_of_size_within_a_stream_gives_stretched_frames(
    clip: Clip, tmp_path: Path
) -> None:
    if tuple(map(int, cv2.__version__.split(".")[:2])) < (4, 13):
        pytest.skip("needs OpenCV 4.13, older ones repeat the last frame")
    twice = moving_figures(COUNT, seed=6, height=2 * HEIGHT, width=2 * WIDTH)
    parts = [
        write_h264(tmp_path / f"{n}.h264", frames, "-bf", "0")
        for n, frames in enumerate((clip.frames, twice.frames))
    ]
    path = tmp_path / "both.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    heard = read_all(open_source(path))
    assert len(heard.frames) == 2 * COUNT
    assert [number(captured.frame, clip) for captured in heard.frames[:COUNT]] == list(range(COUNT))
    halved = [
        cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for frame in twice.frames
    ]
    likeness = [
        psnr(captured.frame[..., ::-1], wanted)
        for captured, wanted in zip(heard.frames[COUNT:], halved, strict=True)
    ]
    assert min(likeness) > GOOD_DB


NO_VIDEOS = {"empty": b"", "text": b"not a video\n" * 100, "zeros": bytes(10_000)}


@pytest.mark.parametrize("content", NO_VIDEOS.values(), ids=NO_VIDEOS)
def test_a_file_that_is_no_video_is_a_loss(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    heard = read_all(open_source(path))
    assert heard.kinds == ["lost", "ended"]
    assert "a.mp4 is not a video that OpenCV's FFmpeg can open" in heard.details("lost")[0]


def test_damage_and_lost_cameras_write_nothing_on_the_terminal(clip: Clip, tmp_path: Path) -> None:
    path = write_h264(tmp_path / "a.mkv", clip.frames)
    data = bytearray(path.read_bytes())
    for place in range(2000, len(data), 500):
        data[place : place + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    code = """if True:
        import sys
        from runtime.sources import open_source
        for what in sys.argv[1:]:
            try:
                print(len(list(open_source(what, timeout_s=1).connect())))
            except Exception as error:
                print(type(error).__name__)
    """
    cameras = ["rtsp://me:hunter2@127.0.0.1:1/x", "http://me:hunter2@127.0.0.1:1/x", "250"]
    ran = subprocess.run(
        [sys.executable, "-c", code, path, *cameras],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(ran.stdout.split()) == 1 + len(cameras)
    assert ran.stdout.split()[1:] == ["EngineError"] * len(cameras)
    assert ran.stderr == ""
