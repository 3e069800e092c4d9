"""From frames to a batch: the only preprocessing, in training, calibration and on a device.

Resizing is Pillow's, which filters when it shrinks (`runtime.resampling`). What a camera gives and
what a file holds take the same way, so that the same picture is the same numbers everywhere.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.geometry import Placement, Size, cropped, keep_aspect, letterboxed
from runtime.pixels import Frame as Frame
from runtime.pixels import check_frames, frame_size, planes_of, rgb_of
from runtime.resampling import resized

_CHOICES = {
    "resize": ("shortest_edge", "exact", "letterbox"),
    "interpolation": ("nearest", "bilinear", "bicubic", "lanczos"),
    "color": ("RGB", "BGR"),
}
_LONGEST_SIDE = 1 << 13  # in pixels, of what a model is given
_MOST_PIXELS = _LONGEST_SIDE**2  # of one resized frame, which a thin strip could exceed
_LARGEST = 1e30  # of normalised values, well within float32


class Prepared(NamedTuple):
    """One frame, ready to be collated into a batch; it shares no memory with the frame.

    Attributes:
        image: uint8 (h, w, 3) RGB, resized and cropped.
        frame_size: (height, width) in pixels of the frame before resizing.
        region: what the whole frame covers of the image, in 0..1 of it: left, top, right, bottom.
            (0, 0, 1, 1) but when letterboxed, which leaves edges, or cropped, which exceeds them.
    """

    image: Frame
    frame_size: Size
    region: tuple[float, float, float, float]


class Batch(NamedTuple):
    """What the model is given, and what is needed to map its answers back.

    Attributes:
        inputs: `pixel_values` float32 (N, 3, H, W) and, when padding, `pixel_mask` int64
            (N, H, W) with 1 where there is image.
        frame_sizes: (height, width) in pixels of every frame before resizing.
        regions: what every frame covers of its image, as in `Prepared`.
    """

    inputs: dict[str, npt.NDArray[Any]]
    frame_sizes: list[Size]
    regions: list[tuple[float, float, float, float]]


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """Resize, crop, normalise and batch frames.

    Attributes:
        resize: "exact" gives `size` x `size`; "shortest_edge" keeps the aspect ratio and
            makes the shorter side `size`; "letterbox" keeps it, makes the longer side `size` and
            centres the frame in `size` x `size`.
        size: in pixels.
        max_size: bound on the longer side in pixels ("shortest_edge" only), by DETR's rule.
        crop: side in pixels of the centre crop; a smaller frame is surrounded by zeros.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos".
        mean, std: of values in 0..1, in the channel order of `color`.
        color: "RGB" or "BGR", the channel order that the model is given.
        pad: zero-pad a ragged batch at bottom and right and emit `pixel_mask`.
        fill: grey level in 0..255 of what a letterboxed frame leaves free.

    Raises:
        ValueError, TypeError: a field that makes no sense.
    """

    resize: str = "exact"
    size: int = 224
    max_size: int | None = None
    crop: int | None = None
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    color: str = "RGB"
    pad: bool = False
    fill: int = 0

    def __post_init__(self) -> None:
        """Check every field."""
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"preprocess.{name} is {getattr(self, name)!r}; use one of {', '.join(allowed)}"
                )
        for name in ("size", "max_size", "crop"):
            value = getattr(self, name)
            if value is None and name != "size":
                continue
            if type(value) is not int:
                raise TypeError(f"preprocess.{name} is {value!r}; give an integer, in pixels")
            if not 1 <= value <= _LONGEST_SIDE:
                raise ValueError(f"preprocess.{name} is {value}; give 1 to {_LONGEST_SIDE} pixels")
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
        if self.max_size is not None and (
            self.resize != "shortest_edge" or self.max_size < self.size
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
        if self.resize == "letterbox" and (self.pad or self.crop is not None):
            raise ValueError(
                "preprocess has resize 'letterbox' with crop or pad; leave those out, since "
                "every frame becomes one size already"
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
        if self.resize != "letterbox":
            del record["fill"]  # so that older runtimes read what they can do
        return {key: list(v) if isinstance(v, tuple) else v for key, v in record.items()}

    def __call__(self, frames: Sequence[Frame], *, pixels: str = "RGB") -> Batch:
        """Make one batch of `frames`.

        Args:
            frames: uint8 arrays, of any sizes; at least one.
            pixels: their layout: "RGB", "BGR", "GREY" or "NV12" (`runtime.pixels`).

        Raises:
            ValueError, TypeError: no frame, not a frame, or frames that end up with different
                sizes although `pad` is off.
        """
        check_frames(frames, pixels)
        return self.collate([self.prepare(frame, pixels) for frame in frames])

    def prepare(self, frame: Frame, pixels: str = "RGB") -> Prepared:
        """Resize and crop one frame, for `collate`.

        Raises:
            ValueError, TypeError: not a frame of that layout, or one of extreme size.
        """
        size = frame_size(frame, pixels)
        place = self._placement(size)
        height, width = place.target
        if height * width > _MOST_PIXELS:
            raise ValueError(
                f"a frame of {size} pixels would be resized to {place.target}; "
                "crop it to a less extreme aspect ratio first"
            )
        planes = [
            resized(plane, place.target, place.window, self.interpolation)
            for plane in planes_of(frame, pixels)
        ]
        image = rgb_of(planes, pixels, size[0])
        if image.shape[:2] != place.canvas:
            canvas = np.full((*place.canvas, 3), self.fill, np.uint8)
            top, left = max(place.offset[0], 0), max(place.offset[1], 0)
            canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
            image = canvas
        return Prepared(image, size, place.region)

    def collate(self, prepared: Sequence[Prepared]) -> Batch:
        """Normalise prepared frames, pad them where `pad` says so, and stack them.

        Raises:
            ValueError: no frame, or frames of different sizes although `pad` is off.
        """
        if len(prepared) == 0:
            raise ValueError("found no frames; a batch needs at least one")
        shapes = [one.image.shape[:2] for one in prepared]
        if not self.pad and len(set(shapes)) > 1:
            raise ValueError(
                f"frames of one batch became {sorted(set(shapes))} pixels; set `crop`, `pad` or "
                "resize 'exact', or give frames of one size"
            )
        height, width = np.max(shapes, axis=0)
        values = np.zeros((len(prepared), 3, height, width), np.float32)
        for one, (h, w), target in zip(prepared, shapes, values, strict=True):
            self._normalise(one.image, target[:, :h, :w])
        inputs: dict[str, npt.NDArray[Any]] = {"pixel_values": values}
        if self.pad:
            mask = np.zeros((len(prepared), height, width), np.int64)
            for (h, w), row in zip(shapes, mask, strict=True):
                row[:h, :w] = 1
            inputs["pixel_mask"] = mask
        return Batch(inputs, [one.frame_size for one in prepared], [one.region for one in prepared])

    def _placement(self, frame: Size) -> Placement:
        if self.resize == "letterbox":
            return letterboxed(frame, self.size)
        target = (self.size, self.size)
        if self.resize == "shortest_edge":
            target = keep_aspect(frame, self.size, self.max_size)
        return (
            Placement(target, (0, 0), target) if self.crop is None else cropped(target, self.crop)
        )

    def _normalise(self, image: Frame, out: npt.NDArray[np.float32]) -> None:
        """Write (image / 255 - mean) / std, channels first, into `out` (3, h, w)."""
        channels = image.transpose(2, 0, 1)
        if self.color == "BGR":
            channels = channels[::-1]
        mean, std = (np.asarray(v, np.float64).reshape(3, 1, 1) for v in (self.mean, self.std))
        np.multiply(channels, (1 / (255 * std)).astype(np.float32), out=out)
        np.subtract(out, (mean / std).astype(np.float32), out=out)


def _triple(name: str, value: Any) -> tuple[float, float, float]:
    numbers = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
    if len(numbers) != 3 or not all(
        type(n) in (int, float) and abs(n) <= sys.float_info.max for n in numbers
    ):
        raise ValueError(f"preprocess.{name} is {value!r}; give three finite numbers")
    return float(numbers[0]), float(numbers[1]), float(numbers[2])
