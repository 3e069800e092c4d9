"""From what people call a source (a file, an address, an iterable) to a `Source`."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from runtime.errors import EngineError
from runtime.images import IMAGE_SUFFIXES
from runtime.sources.capture import read_stream, read_video
from runtime.sources.credentials import masked
from runtime.sources.opencv_setup import load_opencv, require_gstreamer
from runtime.sources.source import Item, Source
from runtime.sources.stills import is_pattern, read_stills

_CAMERA = re.compile(r"/dev/(video\d+$|v4l/)")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# FFmpeg's; which of them a build of it lacks is not known before it connects.
_SCHEMES = (
    "rtsp", "rtsps", "satip", "rtmp", "rtmpe", "rtmps", "rtmpt", "rtmpte", "rtmpts", "http",
    "https", "udp", "udplite", "tcp", "tls", "rtp", "srtp", "srt", "rist", "mmsh", "mmst", "ftp",
    "sftp", "smb", "unix", "file",
)  # fmt: skip
_VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".flv"}
)

Origin = str | Path | int | Source | Iterable[Item] | Callable[[], Iterable[Item]]
"""What can be opened: see `open_source`."""


def open_source(
    what: Origin,
    *,
    name: str | None = None,
    live: bool | None = None,
    pixels: str | None = None,
    timeout_s: float = 10.0,
) -> Source:
    """Describe where frames come from; nothing is connected yet.

    | `what`                                              | live | reconnects | pixels |
    |---|---|---|---|
    | image file, folder of images, `frame_%04d.png`      | no   | no         | RGB    |
    | video file, http(s) address of one (`.mp4`, ...)    | no   | no         | BGR    |
    | other addresses: rtsp, http(s), ...                 | yes  | yes        | BGR    |
    | camera: an index ("0" too), `/dev/video0`           | yes  | yes        | BGR    |
    | GStreamer pipeline that ends in appsink (has " ! ") | yes  | yes        | BGR    |
    | iterable of frames                                  | no   | no         | RGB    |
    | callable that returns an iterable of frames         | yes  | yes        | RGB    |
    | `Source`                                            | its own | its own | its own |

    Args:
        what: see the table. Frames of an iterable must not change after they were given.
        name: for events and results; otherwise made from `what`, without credentials.
        live: whether a newer frame replaces one that waits, against the table.
        pixels: how the frames of an iterable, a callable or a GStreamer pipeline are meant.
        timeout_s: seconds for an address to connect, and for each frame of it to come.

    Raises:
        EngineError: a text that is empty, a file that is not there, an address of an unknown
            scheme, or OpenCV, which it needs, is missing.
        ValueError, TypeError: arguments that make no sense.
    """
    if not timeout_s > 0:
        raise ValueError(f"timeout_s is {timeout_s!r}; give seconds above 0")
    source = _source(what, pixels, timeout_s, live)
    if pixels not in (None, source.pixels):
        raise ValueError(
            f"pixels is {pixels!r}, but {source.name} gives {source.pixels}; leave it out"
        )
    changes: dict[str, Any] = {"name": name, "live": live}
    return dataclasses.replace(source, **{k: v for k, v in changes.items() if v is not None})


def _source(what: Origin, pixels: str | None, timeout_s: float, live: bool | None) -> Source:
    if isinstance(what, Source):
        return what
    if isinstance(what, int) and not isinstance(what, bool):
        return _camera(what, timeout_s)
    if isinstance(what, str | Path):
        text = str(what)
        if not text.strip():
            raise EngineError(
                "a source's text is empty; give a path, an address or a camera's index"
            )
        if " ! " in text:
            return _pipeline(text, pixels or "BGR", timeout_s)
        if isinstance(what, str) and _ADDRESS.match(text):
            return _address(text, timeout_s, live)
        if _CAMERA.match(text):
            return _camera(text, timeout_s)
        if text.isdecimal() and not Path(text).exists():
            return _camera(int(text), timeout_s)
        return _file(Path(text))
    if isinstance(what, Iterable) and not isinstance(what, bytes | bytearray):
        frames = what
        return _finite(type(what).__name__, lambda: iter(frames), pixels or "RGB")
    if callable(what):
        call, called = what, getattr(what, "__name__", type(what).__name__)
        return _endless(called, lambda: iter(call()), pixels or "RGB")
    raise TypeError(
        f"a source is {masked(repr(what))}; give a path, an address, a camera's index, an iterable "
        "of frames or a callable that returns one"
    )


def _finite(name: str, connect: Callable[[], Iterator[Item]], pixels: str) -> Source:
    return Source(name, connect, live=False, reconnect=False, pixels=pixels)


def _endless(name: str, connect: Callable[[], Iterator[Item]], pixels: str) -> Source:
    return Source(name, connect, live=True, reconnect=True, pixels=pixels)


def _file(path: Path) -> Source:
    name = str(path)
    if not path.exists() and not is_pattern(path):
        raise EngineError(
            f"{masked(name)} does not exist; give a file, a folder, an address (rtsp://...) or a "
            "camera's index"
        )
    if path.is_dir() or is_pattern(path) or path.suffix.lower() in IMAGE_SUFFIXES:
        return _finite(name, lambda: read_stills(path), "RGB")
    load_opencv()
    return _finite(name, lambda: read_video(name), "BGR")


def _address(url: str, timeout_s: float, live: bool | None) -> Source:
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise EngineError(
            f"{masked(url)} has the unknown scheme {parts.scheme}; use one of {', '.join(_SCHEMES)}"
        )
    load_opencv()
    is_file = PurePosixPath(parts.path).suffix.lower() in _VIDEO_SUFFIXES
    if parts.scheme in ("http", "https", "file") and is_file and not live:
        return _finite(masked(url), lambda: read_video(url, timeout_s=timeout_s), "BGR")

    def connect() -> Iterator[Item]:
        return read_stream(url, "FFMPEG", timeout_s=timeout_s)

    return _endless(masked(url), connect, "BGR")


def _camera(device: int | str, timeout_s: float) -> Source:
    if isinstance(device, int) and device < 0:
        raise ValueError(f"a camera's index is {device}; it counts from 0")
    load_opencv()
    backend = "V4L2" if sys.platform == "linux" else "ANY"
    name = f"camera {device}" if isinstance(device, int) else device
    return _endless(name, lambda: read_stream(device, backend, timeout_s=timeout_s), "BGR")


def _pipeline(text: str, pixels: str, timeout_s: float) -> Source:
    require_gstreamer()

    def connect() -> Iterator[Item]:
        return read_stream(text, "GSTREAMER", timeout_s=timeout_s)

    return _endless(masked(text), connect, pixels)
