"""Writes annotated videos with OpenCV, a file for each source."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from drawing import annotate
from PIL import Image

from runtime import EngineError
from runtime.closing import Closing
from runtime.pipeline import Result
from runtime.sources.opencv_setup import load_opencv

_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi")  # containers that take MPEG-4 part 2
_RATE = 25.0  # frames a second; what a camera drops is missing, so its time passes faster


class Videos(Closing):
    """Files that appear under their names when they are complete, at the end of a `with` block.

    What was written before an error is kept.
    """

    def __init__(self, path: str | Path, sources: list[str]) -> None:
        """Name a file for each source: `path` for a single one, otherwise with the source's name.

        Raises:
            EngineError: OpenCV is missing.
            ValueError: a file that cannot be written or is there already (it may be what is read),
                or sources whose files would have the same name.
        """
        path = Path(path)
        if path.suffix.lower() not in _SUFFIXES:
            raise ValueError(f"{path} cannot be written; give a name in {', '.join(_SUFFIXES)}")
        if not path.parent.is_dir():
            raise ValueError(f"{path.parent} is not a folder; make it first")
        self._cv2 = load_opencv()
        self._files = dict.fromkeys(sources, path)
        if len(sources) > 1:
            plain = {name: re.sub(r"[^\w.-]+", "_", name) for name in sources}
            self._files = {name: path.with_stem(f"{path.stem}-{plain[name]}") for name in sources}
        if len(set(self._files.values())) < len(sources):
            raise ValueError(f"sources {', '.join(sources)} would share a file; name them apart")
        for file in self._files.values():
            if file.exists():
                raise ValueError(f"{file} is there already; remove it, or give another name")
        self._writers: dict[str, tuple[Any, tuple[int, int]]] = {}
        self._written: Counter[str] = Counter()

    def write(self, result: Result) -> None:
        """Add a picture; one of another size than its source's first is resized to it."""
        picture = annotate(result)
        if result.source not in self._writers:
            self._writers[result.source] = self._opened(result.source, picture.size)
        writer, size = self._writers[result.source]
        if picture.size != size:
            picture = picture.resize(size, Image.Resampling.BILINEAR)
        writer.write(np.asarray(picture)[..., ::-1])  # OpenCV's order is BGR
        self._written[result.source] += 1

    def close(self) -> None:
        """Complete the files and give them their names.

        Raises:
            EngineError: a file lacks frames; it keeps the name of an unfinished one.
        """
        lacking = []
        for name, (writer, _) in self._writers.items():
            writer.release()
            path, written = self._unfinished(name), self._written[name]
            # OpenCV's writer does not tell when the disk is full.
            if (held := self._frames(path)) == written:
                path.replace(self._files[name])
            else:
                lacking.append(f"{path} holds {held} of {written} frames")
        self._writers.clear()
        if lacking:
            raise EngineError(f"{', '.join(lacking)}; make space and run again")

    def _opened(self, name: str, size: tuple[int, int]) -> tuple[Any, tuple[int, int]]:
        size = (max(2, size[0] & ~1), max(2, size[1] & ~1))  # the codec's planes are halves
        path = self._unfinished(name)
        codec = self._cv2.VideoWriter_fourcc(*"mp4v")
        writer = self._cv2.VideoWriter(str(path), self._cv2.CAP_FFMPEG, codec, _RATE, size)
        if not writer.isOpened():
            raise EngineError(f"{path} cannot be written; look at its folder's rights and space")
        return writer, size

    def _frames(self, path: Path) -> int:
        """How many frames a file holds, whatever its header says."""
        capture = self._cv2.VideoCapture(str(path), self._cv2.CAP_FFMPEG)
        capture.set(self._cv2.CAP_PROP_FORMAT, -1)  # packets, which need no decoding
        frames = 0
        while capture.grab():
            frames += 1
        capture.release()
        return frames

    def _unfinished(self, name: str) -> Path:
        return self._files[name].with_stem(f"{self._files[name].stem}.part")
