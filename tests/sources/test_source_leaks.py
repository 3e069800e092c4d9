"""What is opened is closed: threads, files and cameras, however the reading ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from runtime.sources import Source, open_source
from tests.sources.clips import moving_figures, write_with_opencv
from tests.sources.listening import LONG_S, Heard, read_all, reading

pytest.importorskip("cv2", reason="needs opencv-python-headless")

TASKS, HANDLES = Path("/proc/self/task"), Path("/proc/self/fd")
CYCLES = 50


def held() -> dict[str, int]:
    """How many threads of Python and of the process there are, and open files."""
    return {
        "Python's threads": threading.active_count(),
        "threads": len(list(TASKS.iterdir())),
        "files": len(list(HANDLES.iterdir())),
    }


def leaked(before: dict[str, int]) -> dict[str, int]:
    """What there is more of now; a thread that was joined takes a moment to leave the process."""
    end = time.monotonic() + LONG_S
    while True:
        now = held()
        more = {what: now[what] - count for what, count in before.items() if now[what] > count}
        if not more or time.monotonic() > end:
            return more
        time.sleep(0.01)


def read_to_the_end(source: Source) -> None:
    read_all(source)


def stop_in_the_middle(source: Source) -> None:
    heard = Heard()
    with reading(source, heard):
        heard.wait_for(lambda: len(heard.frames) >= 2)
        heard.wanted = False


def stop_at_once(source: Source) -> None:
    with reading(source, Heard()):
        pass


def video(folder: Path) -> Source:
    return open_source(write_with_opencv(folder / "a.avi", moving_figures(10).frames, "MJPG"))


def images(folder: Path) -> Source:
    for number, frame in enumerate(moving_figures(4).frames):
        Image.fromarray(frame).save(folder / f"{number}.png")
    (folder / "2.png").write_bytes(b"broken")
    return open_source(folder)


def broken_video(folder: Path) -> Source:
    path = write_with_opencv(folder / "a.avi", moving_figures(10).frames, "MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return open_source(path)


def camera(folder: Path) -> Source:
    return open_source(f"rtsp://127.0.0.1:1/{folder.name}", timeout_s=1)


CASES = {
    "video, read to its end": (video, read_to_the_end),
    "video, stopped in the middle": (video, stop_in_the_middle),
    "video, stopped at once": (video, stop_at_once),
    "video that breaks off": (broken_video, read_to_the_end),
    "folder, stopped in the middle": (images, stop_in_the_middle),
    "folder with a broken image": (images, read_to_the_end),
    "camera that is not there": (camera, stop_at_once),
}


@pytest.mark.skipif(not TASKS.exists(), reason="needs Linux' /proc")
@pytest.mark.parametrize(("make", "use"), CASES.values(), ids=CASES)
def test_nothing_is_leaked(
    make: Callable[[Path], Source], use: Callable[[Source], None], tmp_path: Path
) -> None:
    source = make(tmp_path)
    for _ in range(3):  # whatever is set up once
        use(source)
    before = held()
    for _ in range(CYCLES):
        use(source)
    assert leaked(before) == {}
