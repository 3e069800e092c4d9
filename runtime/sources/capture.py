"""Videos, cameras and streams through OpenCV, as uint8 (H, W, 3) BGR frames.

RTSP runs over TCP, which loses no packets, because OpenCV asks FFmpeg for it. FFmpeg's other
options can be given only by the environment variable OPENCV_FFMPEG_CAPTURE_OPTIONS, which holds
for all streams of a process and is read at every connection: it is the application's to set, once,
before the first stream is opened; to set it replaces OpenCV's choice of TCP too
(`rtsp_transport;tcp`).

Where the pictures of one connection change their size, OpenCV stretches them to the first size;
before its version 4.13 it repeated the last picture instead.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from runtime.errors import EngineError
from runtime.sources.credentials import masked
from runtime.sources.opencv_setup import load_opencv, version_of
from runtime.sources.source import Item

_FEWEST_MISSING = 2  # frames by which the count of an undamaged file may be wrong...
_SHARE_MISSING = 50  # ...or one in so many, as some containers only know their duration
_MOST_DAMAGED = 25  # frames in a row; more are the end
_GSTREAMER_LIMITS = (4, 7)  # the first version whose GStreamer back end does not refuse limits


def read_video(path: str, *, timeout_s: float = math.inf) -> Iterator[Item]:
    """Decode a video file, or one behind an http address, to its end.

    A local disk may take its time; a network gets `timeout_s` seconds a frame.

    Where the container knows how many frames it has, frames missing at its end are a loss.
    FFmpeg repairs damage inside a frame as well as it can and does not tell.

    Raises:
        EngineError: the file cannot be opened, or breaks off.
    """
    cv2 = load_opencv()
    shown = masked(path)
    with _opened(path, "FFMPEG", _options("FFMPEG", timeout_s)) as capture:
        if not capture.isOpened():
            raise EngineError(
                f"{shown} cannot be reached or is no video; check the address and its server"
                if "://" in path
                else f"{shown} is not a video that OpenCV's FFmpeg can open; "
                "re-encode it, for instance with ffmpeg to H.264"
            )
        came = 0
        for item in _items(capture, shown, timeout_s):
            came += 1
            yield item
        promised = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    if promised - came > max(_FEWEST_MISSING, promised // _SHARE_MISSING):
        raise EngineError(
            f"{shown} gave {came} of the {promised} frames that it announces: it breaks off or is "
            "damaged; copy it again"
        )


def read_stream(address: str | int, backend: str, *, timeout_s: float) -> Iterator[Item]:
    """Decode a camera or a stream for as long as it lasts.

    Args:
        address: a URL, a GStreamer pipeline, a device's path or its index.
        backend: "FFMPEG", "GSTREAMER", "V4L2" or "ANY", of OpenCV.
        timeout_s: seconds for connecting, and for one frame to come. OpenCV gives a local camera
            ten seconds a frame whatever this is; GStreamer has no limit before its version 4.7.

    Raises:
        EngineError: it does not connect in time, breaks, or ends.
    """
    shown = masked(f"camera {address}" if isinstance(address, int) else address)
    options = _options(backend, timeout_s)
    began = time.monotonic()
    with _opened(address, backend, options) as capture:
        if not capture.isOpened():
            raise EngineError(
                f"{shown} did not answer within {timeout_s:g} s; check its network and power"
                if time.monotonic() - began >= timeout_s
                else f"{shown} cannot be opened; check that {_needs(address, backend)}"
            )
        yield from _items(capture, shown, timeout_s)
    raise EngineError(f"{shown} broke off")


def _needs(address: str | int, backend: str) -> str:
    """What must hold of a camera or a stream that was there at once, but did not open."""
    if backend in ("FFMPEG", "GSTREAMER"):
        return "it is there, its address and password"
    device = f"/dev/video{address}" if backend == "V4L2" and isinstance(address, int) else "it"
    return f"{device} is there, that you may read it, and that no other program uses it"


def _items(capture: Any, shown: str, timeout_s: float) -> Iterator[Item]:
    """The frames of a capture until it gives none in several attempts.

    OpenCV's `read` fails at a damaged packet as it does at the end; after the former it goes on.

    Raises:
        EngineError: nothing came within `timeout_s`.
    """
    damaged = 0
    waiting_since = time.monotonic()
    while damaged <= _MOST_DAMAGED:
        good, frame = capture.read()
        late = time.monotonic() - waiting_since >= timeout_s
        if good:
            for _ in range(damaged):
                yield EngineError(f"a damaged frame of {shown} could not be decoded")
            yield frame
        if late:  # with a frame too: FFmpeg's decoder then gave up what it held, and takes no more
            raise EngineError(f"{shown} sent no frame for {timeout_s:g} s")
        damaged = 0 if good else damaged + 1
        if good:
            waiting_since = time.monotonic()


def _options(backend: str, timeout_s: float) -> list[int]:
    """For `cv2.VideoCapture`: limits of time, and one thread for FFmpeg's decoder.

    Each further thread holds a frame back, which a live stream gets later, and costs processor
    time: two took 70 us for a frame of 96 x 96 where one took 35. Sources decode side by side.
    """
    cv2 = load_opencv()
    known = backend == "FFMPEG" or version_of(cv2) >= _GSTREAMER_LIMITS
    if backend not in ("FFMPEG", "GSTREAMER") or not known:
        return []
    limit = 0 if timeout_s == math.inf else max(1, round(timeout_s * 1000))  # 0 is without limit
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
    return limits if backend == "GSTREAMER" else [*limits, cv2.CAP_PROP_N_THREADS, 1]


@contextmanager
def _opened(address: str | int, backend: str, options: list[int]) -> Iterator[Any]:
    """A `cv2.VideoCapture`, opened or not, released at the end."""
    cv2 = load_opencv()
    capture = cv2.VideoCapture(address, getattr(cv2, f"CAP_{backend}"), options)
    try:
        yield capture
    finally:
        capture.release()
