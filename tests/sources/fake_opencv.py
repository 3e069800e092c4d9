"""A `cv2` whose cameras are made up, for what no machine here has: GStreamer and cameras."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

FRAME = np.zeros((4, 6, 3), np.uint8)


class FakeOpenCV(ModuleType):
    """What of OpenCV the sources use.

    Attributes:
        reads: what each capture's `read` gives, in turn; None is a failure, and so is the end.
        opened: address, back end and options of every capture that was made.
        released: how many captures were released.
    """

    CAP_ANY, CAP_V4L2, CAP_GSTREAMER, CAP_FFMPEG = 0, 200, 1800, 1900
    CAP_PROP_OPEN_TIMEOUT_MSEC, CAP_PROP_READ_TIMEOUT_MSEC, CAP_PROP_N_THREADS = 53, 54, 70
    CAP_PROP_FRAME_COUNT = 7

    def __init__(
        self,
        reads: Sequence[Any] = (),
        *,
        opens: bool = True,
        announced: int = 0,
        version: str = "5.0.0",
        gstreamer: bool = True,
    ) -> None:
        super().__init__("cv2")
        self.__version__ = version
        self.reads = reads
        self.opened: list[tuple[str | int, int, list[int]]] = []
        self.released = 0
        self.log_level: int | None = None
        self._opens = opens
        self._announced = announced
        self._gstreamer = gstreamer
        self.videoio_registry = SimpleNamespace(hasBackend=lambda backend: gstreamer)
        if tuple(map(int, version.split("."))) < (4, 13):
            self.setLogLevel = self._set_log_level
        else:
            self.utils = SimpleNamespace(logging=SimpleNamespace(setLogLevel=self._set_log_level))

    def _set_log_level(self, level: int) -> None:
        self.log_level = level

    def getBuildInformation(self) -> str:  # noqa: N802
        return f"  Video I/O:\n    GStreamer:      {'YES (1.24.2)' if self._gstreamer else 'NO'}\n"

    def VideoCapture(self, address: str | int, backend: int, options: list[int]) -> Any:  # noqa: N802
        self.opened.append((address, backend, options))
        left = iter(self.reads)

        def read() -> tuple[bool, Any]:
            frame = next(left, None)
            return frame is not None, frame

        def release() -> None:
            self.released += 1

        return SimpleNamespace(
            isOpened=lambda: self._opens,
            read=read,
            release=release,
            get=lambda prop: float(self._announced),
        )
