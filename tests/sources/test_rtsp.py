"""Streams of a real RTSP server on loopback, which is stopped, killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from runtime.sources import open_source
from runtime.sources.reader import Captured
from tests.sources.clips import GOOD_DB, Clip, moving_figures, psnr, write_h264
from tests.sources.listening import LONG_S, Heard, reading

pytest.importorskip("cv2", reason="needs opencv-python-headless")

PYTHON = "/usr/bin/python3"  # Debian's, which python3-gi belongs to
SCRIPT = Path(__file__).with_name("rtsp_server.py")
BACKOFF = (0.05, 0.2)  # the server needs about this long to start


@cache
def why_no_server() -> str | None:
    """What is missing for the server, or None."""
    code = "import gi; gi.require_version('GstRtspServer', '1.0')"
    if not Path(PYTHON).exists() or subprocess.run([PYTHON, "-c", code], check=False).returncode:
        return "needs gst-rtsp-server with python3-gi of Debian"
    return None if shutil.which("ffmpeg") else "needs the program ffmpeg"


class Server:
    """The script's process."""

    def __init__(self, file: Path, port: int = 0, *account: str) -> None:
        self._process = subprocess.Popen(
            [PYTHON, SCRIPT, str(port), file, *account], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def send(self, sent: signal.Signals) -> None:
        os.kill(self._process.pid, sent)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def serving(file: Path, port: int = 0, *account: str) -> Iterator[Server]:
    server = Server(file, port, *account)
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module", autouse=True)
def _server_is_there() -> None:
    if why := why_no_server():
        pytest.skip(why)


@pytest.fixture(scope="module")
def clip() -> Clip:
    """Twelve seconds at 25 frames a second."""
    return moving_figures(300)


@pytest.fixture(scope="module")
def stream(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip with a whole picture in every five, so that a decoder can begin soon."""
    path = tmp_path_factory.mktemp("rtsp") / "clip.mkv"
    return write_h264(path, clip.frames, "-tune", "zerolatency", "-g", "5", rate=25)


def numbers(captured: list[Captured], clip: Clip) -> list[int]:
    """Which frame of the clip each is; it must look like it."""
    found = []
    for frame in captured:
        likeness = [psnr(frame.frame[..., ::-1], wanted) for wanted in clip.frames]
        assert max(likeness) > GOOD_DB
        found.append(int(np.argmax(likeness)))
    return found


def test_frames_come_complete_and_in_order(stream: Path, clip: Clip) -> None:
    heard = Heard()
    with serving(stream, 0, "me", "hunter2") as server:
        source = open_source(f"rtsp://me:hunter2@127.0.0.1:{server.port}/shapes")
        with reading(source, heard):
            heard.wait_for(lambda: len(heard.frames) >= 30)
    found = numbers(heard.frames[:30], clip)
    # A packet that UDP lost would leave a gap, and so would a frame that the decoder held back.
    assert found == list(range(found[0], found[0] + 30))
    assert heard.ids[:30] == list(range(30))
    assert heard.kinds == ["connected"]


def test_a_wrong_password_is_a_loss_without_the_password(stream: Path) -> None:
    heard = Heard()
    with serving(stream, 0, "me", "hunter2") as server:
        source = open_source(f"rtsp://me:tr0ub4dor@127.0.0.1:{server.port}/shapes")
        with reading(source, heard):
            heard.wait_for_kind("lost")
    told = f"{heard.events} {source}"
    assert f"rtsp://***@127.0.0.1:{server.port}/shapes cannot be opened" in told
    assert "tr0ub4dor" not in told


def test_a_killed_server_is_a_loss_and_its_return_is_found(
    stream: Path, clip: Clip, tmp_path: Path
) -> None:
    small = write_h264(
        tmp_path / "small.mkv", moving_figures(100, width=128).frames, "-g", "5", rate=25
    )
    heard = Heard()
    with serving(stream) as server:
        port = server.port
        source = open_source(f"rtsp://127.0.0.1:{port}/shapes", name="door")
        with reading(source, heard, backoff=BACKOFF) as reader:
            heard.wait_for(lambda: len(heard.frames) >= 10)
            server.kill()
            heard.wait_for_kind("lost")
            heard.wait_for(lambda: reader.state == "lost")
            before = len(heard.frames)
            with serving(small, port):
                heard.wait_for_kind("connected", times=2)
                heard.wait_for(lambda: len(heard.frames) >= before + 10)
    assert heard.ids == list(range(len(heard.frames)))
    kinds = [kind for kind in heard.kinds if kind != "lost"]
    assert kinds[:3] == ["connected", "connected", "resized"]
    assert heard.details("resized")[0] == f"from 160 x 120 to 128 x 120 at frame {before}"
    assert {event.source for event in heard.events} == {"door"}
    times = [event.time for event in heard.events]
    assert times == sorted(times)


def test_a_frozen_server_is_a_stall_and_frames_go_on_after_it(stream: Path) -> None:
    heard = Heard()
    with serving(stream) as server:
        source = open_source(f"rtsp://127.0.0.1:{server.port}/shapes", timeout_s=LONG_S)
        with reading(source, heard, stall_s=0.5) as reader:
            heard.wait_for(lambda: len(heard.frames) >= 10)
            server.send(signal.SIGSTOP)
            heard.wait_for_kind("stalled", meanwhile=lambda: reader.check(time.monotonic()))
            assert reader.state == "stalled"
            before = len(heard.frames)
            server.send(signal.SIGCONT)
            heard.wait_for(lambda: len(heard.frames) >= before + 10)
    assert heard.kinds[:3] == ["connected", "stalled", "resumed"]
    assert "lost" not in heard.kinds


def test_a_server_frozen_for_longer_is_a_loss(stream: Path) -> None:
    heard = Heard()
    with serving(stream) as server:
        source = open_source(f"rtsp://127.0.0.1:{server.port}/shapes", timeout_s=4)
        with reading(source, heard, backoff=BACKOFF):
            heard.wait_for(lambda: len(heard.frames) >= 10)
            server.send(signal.SIGSTOP)
            heard.wait_for_kind("lost")
            server.send(signal.SIGCONT)
            heard.wait_for_kind("connected", times=2)
    assert "sent no frame for 4 s" in heard.details("lost")[0]


def test_a_server_that_accepts_and_says_nothing_is_a_stall_and_then_a_loss() -> None:
    heard = Heard()
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        source = open_source(f"rtsp://me:hunter2@127.0.0.1:{port}/shapes", timeout_s=1)
        with reading(source, heard, stall_s=0.2) as reader:
            heard.wait_for_kind("lost", meanwhile=lambda: reader.check(time.monotonic()))
    assert heard.kinds == ["stalled", "lost"]
    stalled, lost = heard.events
    assert "did not answer within 1 s" in lost.detail
    # Told at the first look after stall_s; looks are every 20 ms here, on a machine that may halt.
    assert stalled.time < lost.time


def test_a_stream_over_http_is_read_to_its_end_and_connected_again(
    stream: Path, clip: Clip
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    program = [
        "ffmpeg", "-v", "error", "-i", str(stream), "-c", "copy", "-f", "mpegts", "-listen", "1",
        f"http://127.0.0.1:{port}/live",
    ]  # fmt: skip
    heard = Heard()
    source = open_source(f"http://127.0.0.1:{port}/live")
    with reading(source, heard, backoff=BACKOFF):
        subprocess.run(program, check=True)
        heard.wait_for(lambda: len(heard.frames) == len(clip.frames))
        subprocess.run(program, check=True)
        heard.wait_for(lambda: len(heard.frames) == 2 * len(clip.frames))
        heard.wait_for(lambda: heard.kinds[-1] == "lost")
    assert heard.kinds.count("connected") == 2
    assert heard.ids == list(range(2 * len(clip.frames)))
    assert numbers(heard.frames[-5:], clip) == list(range(295, 300))


def test_no_server_at_all_is_a_loss() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    heard = Heard()
    with reading(open_source(f"rtsp://127.0.0.1:{port}/shapes"), heard):
        heard.wait_for_kind("lost")
