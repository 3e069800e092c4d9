"""OpenCV, imported when a camera or a video is first opened, and kept from chattering."""

from __future__ import annotations

import logging
import os
import re
from functools import cache
from typing import Any

from runtime.errors import EngineError, one_line

_LOG = logging.getLogger("vitrine.sources")
_INSTALL = 'pip install -e ".[camera]"'
_FROZEN_BELOW = (4, 13)
_SILENT = 0  # LOG_LEVEL_SILENT of opencv2/core/utils/logger.defines.hpp
_QUIET = "-8"  # AV_LOG_QUIET of libavutil/log.h


@cache
def load_opencv() -> Any:
    """The module `cv2`, quiet on standard error from now on.

    FFmpeg writes a line for every damaged block of a picture, for months, and OpenCV one for
    every camera that does not answer; what matters of it is reported as an event instead. Both
    settings hold for the whole process, so an application's own choice, by OpenCV's variables
    OPENCV_FFMPEG_LOGLEVEL and OPENCV_LOG_LEVEL, is left alone.

    Raises:
        EngineError: OpenCV is not installed, or does not load.
    """
    # There is no function for it. Set before the first capture, from the application's own
    # thread, as threads that read the environment meanwhile would race with this.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _QUIET)
    try:
        import cv2
    except Exception as error:  # a build for another numpy raises AttributeError, for one
        raise EngineError(
            f"cameras and videos need OpenCV, which does not load ({one_line(error)}); "
            f"install it: {_INSTALL}"
        ) from None
    if "OPENCV_LOG_LEVEL" not in os.environ:
        # It is here or there, by version.
        set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
        set_level(_SILENT)
    if version_of(cv2) < _FROZEN_BELOW:
        _LOG.warning(
            "OpenCV %s freezes the picture where a stream through FFmpeg changes its size; install "
            "4.13 or newer: %s", cv2.__version__, _INSTALL,
        )  # fmt: skip
    return cv2


def version_of(cv2: Any) -> tuple[int, ...]:
    """Its major and minor version."""
    return tuple(int(part) for part in re.findall(r"\d+", cv2.__version__)[:2])


def require_gstreamer() -> None:
    """Refuse to go on where OpenCV was built without GStreamer, as the wheels of PyPI are.

    Raises:
        EngineError: so it is.
    """
    cv2 = load_opencv()
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        found = re.search(r"GStreamer:\s*(\S.*)", cv2.getBuildInformation())
        raise EngineError(
            f"OpenCV {cv2.__version__} was built without GStreamer (its build information says "
            f"{found.group(1).strip() if found else 'nothing of it'}), which a pipeline string "
            "needs; use JetPack's OpenCV or build one with -D WITH_GSTREAMER=ON"
        )
