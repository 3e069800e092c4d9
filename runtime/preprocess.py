"""From frames to a batch: the only preprocessing, in training, calibration and on a device.

Resizing is Pillow's, which filters when it shrinks (`runtime.resampling`). What a camera gives and
what a file holds take the same way, so that the same picture is the same numbers everywhere.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from runtime.batch import Batch, Prepared
from runtime.geometry import Placement, Size, cropped, keep_aspect, letterboxed
from runtime.pixels import Frame as Frame
from runtime.pixels import check_frames, frame_size, noise, planes_of, rgb_of
from runtime.preparation import Preparation
from runtime.resampling import resized
from runtime.tiles import cut

_CHOICES = {
    "resize": ("shortest_edge", "exact", "letterbox", "tiles"),
    "interpolation": ("nearest", "bilinear", "bicubic", "lanczos"),
    "color": ("RGB", "BGR"),
}
_LONGEST_SIDE = 1 << 13  # in pixels, of what a model is given
_MOST_PIXELS = _LONGEST_SIDE**2  # of one resized frame, which a thin strip could exceed
_LARGEST = 1e30  # of normalised values, well within float32


@dataclasses.dataclass(frozen=True)
class Preprocess(Preparation):
    """Resize, crop, normalise and batch frames.

    Attributes:
        resize: "exact" gives `size` x `size`; "shortest_edge" keeps the aspect ratio and
            makes the shorter side `size`; "letterbox" keeps it, makes the longer side `size` and
            centres the frame in `size` x `size`; "tiles" leaves it as large as it is and cuts it
            into images of `size` x `size`.
        size: in pixels; of "exact" and "letterbox" also (height, width) of an image, for `size` x
            `size`.
        max_size: bound on the longer side in pixels ("shortest_edge" only), by DETR's rule.
        crop: side in pixels of the centre crop; a smaller frame is surrounded by zeros.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos".
        mean, std: of values in 0..1, in the channel order of `color`.
        color: "RGB" or "BGR", the channel order that the model is given.
        pad: zero-pad a ragged batch at bottom and right and emit `pixel_mask`.
        fill: grey level in 0..255 of what a letterboxed frame leaves free.
        overlap: least number of pixels that neighbouring tiles share, up to half their side.

    Raises:
        ValueError, TypeError: a field that makes no sense.
    """

    kind: ClassVar[str] = "frames"

    resize: str = "exact"
    size: int | Size = 224
    max_size: int | None = None
    crop: int | None = None
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    color: str = "RGB"
    pad: bool = False
    fill: int = 0
    overlap: int = 0

    def __post_init__(self) -> None:
        """Check every field."""
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"preprocess.{name} is {getattr(self, name)!r}; use one of {', '.join(allowed)}"
                )
        if isinstance(self.size, list) and len(self.size) == 2:
            object.__setattr__(self, "size", tuple(self.size))
        for name in ("size", "max_size", "crop"):
            value = getattr(self, name)
            if value is None and name != "size":
                continue
            pair = name == "size" and isinstance(value, tuple) and len(value) == 2
            for side in value if pair else (value,):
                if type(side) is not int:
                    raise TypeError(f"preprocess.{name} is {value!r}; give an integer, in pixels")
                if not 1 <= side <= _LONGEST_SIDE:
                    raise ValueError(
                        f"preprocess.{name} is {value}; give 1 to {_LONGEST_SIDE} pixels"
                    )
        if type(self.pad) is not bool:
            raise TypeError(f"preprocess.pad is {self.pad!r}; give true or false")
        object.__setattr__(self, "mean", _triple("mean", self.mean))
        object.__setattr__(self, "std", _triple("std", self.std))
        if min(self.std) <= 0:
            raise ValueError(f"preprocess.std is {self.std}; give three positive numbers")
        if not all((1 + abs(m)) / s < _LARGEST for m, s in zip(self.mean, self.std, strict=True)):
            raise ValueError(
                f"preprocess.mean {self.mean} and std {self.std} make values over {_LARGEST:g}; "
                "give those of values in 0..1"
            )
        self._check_combination()

    def _check_combination(self) -> None:
        """Check fields that have a meaning only beside another."""
        if self.resize in ("shortest_edge", "tiles") and isinstance(self.size, tuple):
            raise ValueError(
                f"preprocess.size is {self.size} with resize {self.resize!r}; give one number, or "
                "resize 'exact' or 'letterbox'"
            )
        if self.max_size is not None and (
            self.resize != "shortest_edge" or self.max_size < self._box[0]
        ):
            raise ValueError(
                f"preprocess.max_size is {self.max_size} with resize {self.resize!r} and size "
                f"{self.size}; it needs 'shortest_edge' and at least the size"
            )
        if type(self.fill) is not int:
            raise TypeError(f"preprocess.fill is {self.fill!r}; give an integer, a grey level")
        if not 0 <= self.fill <= (255 if self.resize == "letterbox" else 0):
            raise ValueError(
                f"preprocess.fill is {self.fill} with resize {self.resize!r}; give 0 to 255 with "
                "'letterbox', and 0 or nothing otherwise"
            )
        if type(self.overlap) is not int:
            raise TypeError(f"preprocess.overlap is {self.overlap!r}; give an integer, in pixels")
        if not 0 <= self.overlap <= (self._box[0] // 2 if self.resize == "tiles" else 0):
            raise ValueError(
                f"preprocess.overlap is {self.overlap} with resize {self.resize!r} and size "
                f"{self.size}; give 0 to half the size with 'tiles', and 0 or nothing otherwise"
            )
        if self.resize in ("letterbox", "tiles") and (self.pad or self.crop is not None):
            raise ValueError(
                f"preprocess has resize {self.resize!r} with crop or pad; leave those out, since "
                "every image has one size already"
            )

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Preprocess:
        """Read a record of models.yaml or of a manifest; unknown keys raise `ValueError`."""
        if not isinstance(record, Mapping):
            raise TypeError(f"preprocess is {record!r}; give a mapping of its fields")
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(str(key) for key in record if key not in known)
        if unknown:
            raise ValueError(f"preprocess has {', '.join(unknown)}; it knows {', '.join(known)}")
        return cls(**record)

    def to_dict(self) -> dict[str, Any]:
        """The inverse of `from_dict`, made of JSON types only."""
        record = dataclasses.asdict(self)
        for name, resize in (("fill", "letterbox"), ("overlap", "tiles")):
            if self.resize != resize:
                del record[name]  # so that older runtimes read what they can do
        return {key: list(v) if isinstance(v, tuple) else v for key, v in record.items()}

    @property
    def example(self) -> Frame:
        """See `Preparation`."""
        return noise(*self.image_size, 3)

    def check(self, items: Sequence[Any], pixels: str) -> None:
        """Check that everything in a sequence is a frame; see `runtime.pixels.check_frames`."""
        check_frames(items, pixels)

    def prepare(self, item: Frame, pixels: str = "RGB") -> Prepared:
        """Resize and crop one frame, or cut it into tiles, for `collate`.

        Raises:
            ValueError, TypeError: not a frame of that layout, or one of extreme size.
        """
        size = frame_size(item, pixels)
        place = self._placement(size)
        height, width = place.target
        if height * width > _MOST_PIXELS:
            raise ValueError(
                f"a frame of {size} pixels would be resized to {place.target}; "
                "crop it to a less extreme aspect ratio first"
            )
        planes = [
            resized(plane, place.target, place.window, self.interpolation)
            for plane in planes_of(item, pixels)
        ]
        image = rgb_of(planes, pixels, size[0])
        if image.shape[:2] != place.canvas:
            canvas = np.full((*place.canvas, 3), self.fill, np.uint8)
            top, left = max(place.offset[0], 0), max(place.offset[1], 0)
            canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
            image = canvas
        if self.resize == "tiles":
            tiles, regions = cut(image, self._box[0], self.overlap)
            return Prepared(tiles, size, regions)
        return Prepared(image[None], size, (place.region,))

    def collate(self, prepared: Sequence[Prepared]) -> Batch:
        """Normalise prepared frames, pad them where `pad` says so, and stack them.

        Raises:
            ValueError: no frame, or frames of different sizes although `pad` is off.
        """
        if len(prepared) == 0:
            raise ValueError("found no frames; a batch needs at least one")
        images = [image for one in prepared for image in one.images]
        shapes = [image.shape[:2] for image in images]
        if not self.pad and len(set(shapes)) > 1:
            raise ValueError(
                f"frames of one batch became {sorted(set(shapes))} pixels; set `crop`, `pad` or "
                "resize 'exact', or give frames of one size"
            )
        height, width = (max(sides) for sides in zip(*shapes, strict=True))
        ragged = len(set(shapes)) > 1
        values = (np.zeros if ragged else np.empty)((len(images), 3, height, width), np.float32)
        parts = [target[:, :h, :w] for (h, w), target in zip(shapes, values, strict=True)]
        for image, part in zip(images, parts, strict=True):
            channels = image.transpose(2, 0, 1)
            part[...] = channels[::-1] if self.color == "BGR" else channels
        for part in parts if ragged else [values]:  # all frames at once takes half as long
            self._normalise(part)
        inputs: dict[str, npt.NDArray[Any]] = {"pixel_values": values}
        if self.pad:
            mask = np.ones((len(images), height, width), np.int64)
            for (h, w), row in zip(shapes, mask, strict=True):
                row[h:] = row[:, w:] = 0
            inputs["pixel_mask"] = mask
        sizes, counts = zip(*((one.frame_size, len(one.images)) for one in prepared), strict=True)
        regions = [region for one in prepared for region in one.regions]
        return Batch(inputs, list(sizes), regions, list(counts))

    @property
    def image_size(self) -> Size:
        """(height, width) in pixels of an image; of a square's, where frames keep their shape."""
        return self._box if self.crop is None else (self.crop, self.crop)

    @property
    def _box(self) -> Size:
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)

    def _placement(self, frame: Size) -> Placement:
        if self.resize == "letterbox":
            return letterboxed(frame, self._box)
        if self.resize == "tiles":
            return Placement(frame, (0, 0), frame)
        target = self._box
        if self.resize == "shortest_edge":
            target = keep_aspect(frame, target[0], self.max_size)
        return (
            Placement(target, (0, 0), target) if self.crop is None else cropped(target, self.crop)
        )

    def _normalise(self, values: npt.NDArray[np.float32]) -> None:
        """Make (values / 255 - mean) / std of grey levels (..., 3, h, w), in place."""
        mean, std = (np.asarray(v, np.float64).reshape(3, 1, 1) for v in (self.mean, self.std))
        np.multiply(values, (1 / (255 * std)).astype(np.float32), out=values)
        np.subtract(values, (mean / std).astype(np.float32), out=values)


def check_nested(frames: Any) -> None:
    """Refuses what is no preprocessing of frames, where another kind has one; `TypeError`."""
    if not isinstance(frames, Preprocess):
        raise TypeError(f"preprocess.frames is {frames!r}; give the preprocessing of a frame")


def _triple(name: str, value: Any) -> tuple[float, float, float]:
    numbers = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
    if len(numbers) != 3 or not all(
        type(n) in (int, float) and abs(n) <= sys.float_info.max for n in numbers
    ):
        raise ValueError(f"preprocess.{name} is {value!r}; give three finite numbers")
    return float(numbers[0]), float(numbers[1]), float(numbers[2])
