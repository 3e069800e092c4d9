"""Reading image files as frames: uint8 (H, W, 3) RGB."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from runtime.errors import EngineError, one_line
from runtime.preprocess import Frame

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff"})


def read_image(path: str | Path) -> Frame:
    """Decode a file to uint8 (H, W, 3) RGB, upright, or a folder's images to a clip (T, H, W, 3).

    The EXIF orientation is applied; grey becomes three equal channels, palettes are
    expanded, transparency is dropped, 16-bit values keep their high byte.

    Raises:
        EngineError: the file cannot be read or decoded, or a folder's images are none or of
            several sizes; the message names it.
    """
    if Path(path).is_dir():
        return _read_clip(Path(path))
    return decoded(path, _upright_rgb)


def _read_clip(folder: Path) -> Frame:
    """The images of a folder in the order of their names."""
    frames = [read_image(file) for file in _images_in(folder)]
    sizes = sorted({frame.shape[:2] for frame in frames})
    if len(sizes) != 1:
        raise EngineError(
            f"{folder} holds images of {sizes or 'no'} pixels; give the frames of a clip, all of "
            "one size"
        )
    return np.stack(frames)


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    )


def decoded(path: str | Path, read: Callable[[Image], T]) -> T:
    """What `read` makes of an image file, which it may decode.

    Raises:
        EngineError: the file cannot be read or decoded; the message names it.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return read(image)
    except Exception as error:  # on damaged files, decoders raise nearly every exception
        raise EngineError(
            f"{path} is not a readable image ({one_line(error)}); replace or remove it"
        ) from error


def _upright_rgb(image: Image) -> Frame:
    from PIL import ImageOps

    return _to_rgb(ImageOps.exif_transpose(image))


def _to_rgb(image: Image) -> Frame:
    if image.mode == "F":
        raise ValueError("it holds floating-point pixels, not 8 or 16 bits a channel")
    if image.mode.startswith("I"):
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 0xFFFF:
            raise ValueError("its pixels exceed 16 bits")
        return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "P":
        image.apply_transparency()  # Pillow warns on a palette that still has it
    return np.asarray(image.convert("RGB"))


class ImageSet:
    """The image files of a folder, in order of their names; where it has none, its clips.

    A clip is a subfolder of images. Iterating yields (file name, frame or clip) and passes over
    what does not decode.

    Attributes:
        paths: every image file, or every clip's folder, decodable or not.
        skipped: why, for each file that iterating has passed over, by name.

    Raises:
        EngineError: the folder does not exist or holds no image file; when iterating, not
            one file decodes.
    """

    def __init__(self, folder: str | Path) -> None:
        """List the image files of `folder`."""
        folder = Path(folder)
        if not folder.is_dir():
            raise EngineError(f"{folder} is not a folder; give a folder of images")
        self.paths = _images_in(folder) or sorted(
            path for path in folder.iterdir() if path.is_dir() and _images_in(path)
        )
        if not self.paths:
            kinds = " ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
            raise EngineError(f"{folder} holds no image; put files there ({kinds})")
        self.skipped: dict[str, str] = {}

    def __len__(self) -> int:
        """How many image files there are, decodable or not."""
        return len(self.paths)

    def __iter__(self) -> Iterator[tuple[str, Frame]]:
        """Yield (file name, frame), decoding one file at a time."""
        found = False
        for path in self.paths:
            try:
                frame = read_image(path)
            except EngineError as error:
                self.skipped[path.name] = str(error)
                continue
            found = True
            yield path.name, frame
        if not found:
            raise EngineError(
                f"none of the {len(self)} images of {self.paths[0].parent} could be decoded, "
                f"the first because: {self.skipped[self.paths[0].name]}"
            )


def read_labels(path: str | Path) -> dict[str, int]:
    """Class index by file name, from a CSV whose first two columns are those.

    The first line is the header; further columns are ignored.

    Raises:
        EngineError: no such file, or a line that is not `file,index,...`; it is named.
    """
    labels: dict[str, int] = {}
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            next(rows, None)
            for row in rows:
                if not row:
                    continue
                try:
                    labels[row[0]] = int(row[1])
                except (IndexError, ValueError):
                    raise EngineError(
                        f"{path}, line {rows.line_num}: found {','.join(row)!r}; "
                        "write a file name, a comma and a class index"
                    ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EngineError(f"{path} is not a readable CSV ({one_line(error)})") from error
    return labels
