"""Captures on a made-up OpenCV: what is asked of it, and what is made of its answers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from runtime.errors import EngineError
from runtime.sources import open_source
from runtime.sources.opencv_setup import load_opencv
from tests.sources.fake_opencv import FRAME, FakeOpenCV

Install = Callable[[FakeOpenCV], FakeOpenCV]
PIPELINE = (
    "rtspsrc location=rtsp://me:hunter2@cam/live user-pw=hunter2 ! rtph264depay ! nvv4l2decoder ! "
    "video/x-raw,format=BGR ! appsink drop=true max-buffers=1"
)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Makes a made-up OpenCV the one that is imported."""
    monkeypatch.delenv("OPENCV_LOG_LEVEL", raising=False)
    monkeypatch.setenv("OPENCV_FFMPEG_LOGLEVEL", "16")

    def put(fake: FakeOpenCV) -> FakeOpenCV:
        monkeypatch.setitem(sys.modules, "cv2", fake)
        load_opencv.cache_clear()
        return fake

    yield put
    load_opencv.cache_clear()


@pytest.mark.parametrize("live", [None, False], ids=["live", "as a file"])
def test_a_stream_is_decoded_in_one_thread_and_has_limits(
    install: Install, live: bool | None
) -> None:
    fake = install(FakeOpenCV([FRAME]))
    next(open_source("rtsp://cam/live", timeout_s=2.5, live=live).connect())
    limits = [fake.CAP_PROP_OPEN_TIMEOUT_MSEC, 2500, fake.CAP_PROP_READ_TIMEOUT_MSEC, 2500]
    one_thread = [fake.CAP_PROP_N_THREADS, 1]
    assert fake.opened == [("rtsp://cam/live", fake.CAP_FFMPEG, [*limits, *one_thread])]


@pytest.mark.parametrize(
    ("version", "limits"), [("4.6.0", []), ("4.10.0", [53, 2500, 54, 2500])], ids=["old", "new"]
)
def test_a_pipeline_goes_to_gstreamer_as_it_is(
    install: Install, version: str, limits: list[int]
) -> None:
    planes = np.zeros((6, 6), np.uint8)
    fake = install(FakeOpenCV([planes], version=version))
    source = open_source(PIPELINE, pixels="NV12", timeout_s=2.5)
    assert (source.live, source.reconnect, source.pixels) == (True, True, "NV12")
    assert "hunter2" not in source.name
    assert next(source.connect()) is planes
    # GStreamer refuses options that it does not know, such as a number of threads.
    assert fake.opened == [(PIPELINE, fake.CAP_GSTREAMER, limits)]


@pytest.mark.parametrize(("what", "address"), [(1, 1), ("1", 1), ("/dev/video1", "/dev/video1")])
def test_a_camera_is_opened_by_v4l2_without_options(
    install: Install, monkeypatch: pytest.MonkeyPatch, what: str | int, address: str | int
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    fake = install(FakeOpenCV([FRAME]))
    next(open_source(what).connect())
    assert fake.opened == [(address, fake.CAP_V4L2, [])]


def test_without_gstreamer_a_pipeline_is_refused_in_one_line(install: Install) -> None:
    install(FakeOpenCV(gstreamer=False))
    with pytest.raises(EngineError) as refused:
        open_source(PIPELINE)
    assert str(refused.value) == (
        "OpenCV 5.0.0 was built without GStreamer (its build information says NO), which a "
        "pipeline string needs; use JetPack's OpenCV or build one with -D WITH_GSTREAMER=ON"
    )


def test_a_damaged_packet_is_an_error_in_its_place(install: Install) -> None:
    install(FakeOpenCV([FRAME, None, None, FRAME]))
    camera = open_source("rtsp://me:hunter2@cam/live").connect()
    kinds = [type(next(camera)) for _ in range(4)]
    assert kinds == [np.ndarray, EngineError, EngineError, np.ndarray]
    with pytest.raises(EngineError, match=r"^rtsp://\*\*\*@cam/live broke off$"):
        next(camera)


def test_a_camera_is_released_however_its_reading_ends(install: Install) -> None:
    fake = install(FakeOpenCV([FRAME, FRAME]))
    closed = open_source(0).connect()
    next(closed)
    closed.close()  # type: ignore[attr-defined]
    assert fake.released == 1
    with pytest.raises(EngineError, match="camera 0 broke off"):
        list(open_source(0).connect())
    assert fake.released == 2


LOCAL = "is there, that you may read it, and that no other program uses it"
CLOSED = {
    "camera": (0, f"camera 0 cannot be opened; check that /dev/video0 {LOCAL}"),
    "device": ("/dev/video1", f"/dev/video1 cannot be opened; check that it {LOCAL}"),
    "stream": (
        "rtsp://cam/live",
        "rtsp://cam/live cannot be opened; check that it is there, its address and password",
    ),
    "address of a file": (
        "http://127.0.0.1:9/clip.mp4",
        "http://127.0.0.1:9/clip.mp4 cannot be reached or is no video; check the address and its "
        "server",
    ),
}


@pytest.mark.parametrize(("what", "said"), CLOSED.values(), ids=CLOSED)
def test_what_does_not_open_is_released_and_said_with_its_remedy(
    install: Install, monkeypatch: pytest.MonkeyPatch, what: str | int, said: str
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    fake = install(FakeOpenCV(opens=False))
    with pytest.raises(EngineError) as refused:
        next(open_source(what).connect())
    assert str(refused.value) == said
    assert fake.released == 1


@pytest.mark.parametrize(
    ("announced", "came", "missed"),
    [(100, 97, True), (100, 98, False), (1000, 980, False), (1000, 979, True), (-1, 5, False)],
)
def test_a_file_is_broken_when_it_gives_clearly_less_than_it_announces(
    install: Install, announced: int, came: int, missed: bool
) -> None:
    install(FakeOpenCV([FRAME] * came, announced=announced))
    items = open_source("https://host/clip.mp4").connect()
    for _ in range(came):
        next(items)
    if missed:
        with pytest.raises(EngineError, match=f"gave {came} of the {announced} frames"):
            next(items)
    else:
        assert list(items) == []


def test_opencv_that_does_not_load_is_said_with_its_remedy(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(FakeOpenCV())
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(EngineError, match=r'install it: pip install -e "\.\[camera\]"$'):
        open_source(0)


def test_an_old_opencv_is_warned_of_once(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install(FakeOpenCV(version="4.12.0"))
    open_source(0)
    open_source(1)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "OpenCV 4.12.0 freezes the picture" in caplog.text


@pytest.mark.parametrize("version", ["4.12.0", "5.0.0"])
def test_opencv_is_quiet_unless_the_application_says_otherwise(
    install: Install, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    fake = install(FakeOpenCV(version=version))
    open_source(0)
    assert fake.log_level == 0
    assert os.environ["OPENCV_FFMPEG_LOGLEVEL"] == "16"

    monkeypatch.setenv("OPENCV_LOG_LEVEL", "DEBUG")
    monkeypatch.delenv("OPENCV_FFMPEG_LOGLEVEL")
    fake = install(FakeOpenCV(version=version))
    open_source(0)
    assert fake.log_level is None
    assert os.environ["OPENCV_FFMPEG_LOGLEVEL"] == "-8"
