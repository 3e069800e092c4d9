"""From frames to a batch: the only preprocessing, in training, calibration and on a device.

Frames are uint8 (H, W, 3), RGB. Resizing is Pillow's own, which filters when it
shrinks, so that the same frame gives the same numbers everywhere.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]

_CHOICES = {
    "resize": ("shortest_edge", "exact"),
    "interpolation": ("nearest", "bilinear", "bicubic", "lanczos"),
    "color": ("RGB", "BGR"),
}
_LONGEST_SIDE = 1 << 13  # in pixels, of what a model is given
_MOST_PIXELS = (
    _LONGEST_SIDE**2
)  # one resized frame; a 1 x 100000 strip would otherwise exhaust memory


class Batch(NamedTuple):
    """What the model is given, and what is needed to map its answers back.

    Attributes:
        inputs: `pixel_values` float32 (N, 3, H, W) and, when padding, `pixel_mask` int64
            (N, H, W) with 1 where there is image.
        frame_sizes: (height, width) in pixels of every frame before resizing.
    """

    inputs: dict[str, npt.NDArray[Any]]
    frame_sizes: list[tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """Resize, crop, normalise and batch frames.

    Attributes:
        resize: "exact" gives `size` x `size`; "shortest_edge" keeps the aspect ratio and
            makes the shorter side `size`.
        size: in pixels.
        max_size: bound on the longer side in pixels ("shortest_edge" only), by DETR's rule.
        crop: side in pixels of the centre crop; a smaller frame is surrounded by zeros.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos".
        mean, std: of values in 0..1, in the channel order of `color`.
        color: "RGB" or "BGR", the channel order that the model is given.
        pad: zero-pad a ragged batch at bottom and right and emit `pixel_mask`.

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
        if self.max_size is not None and (self.resize == "exact" or self.max_size < self.size):
            raise ValueError(
                f"preprocess.max_size is {self.max_size} with resize {self.resize!r} and size "
                f"{self.size}; it needs 'shortest_edge' and at least the size"
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
        return {key: list(v) if isinstance(v, tuple) else v for key, v in record.items()}

    def __call__(self, frames: Sequence[Frame]) -> Batch:
        """Make one batch of `frames`.

        Args:
            frames: uint8 (H, W, 3) RGB arrays, of any sizes; at least one.

        Raises:
            ValueError, TypeError: no frame, not a frame, or frames that end up with different
                sizes although `pad` is off.
        """
        if len(frames) == 0:
            raise ValueError("found no frames; a batch needs at least one")
        for index, frame in enumerate(frames):
            _check_frame(frame, index)
        images = [self._shaped(frame) for frame in frames]
        shapes = [image.shape[:2] for image in images]
        if not self.pad and len(set(shapes)) > 1:
            raise ValueError(
                f"frames of one batch became {sorted(set(shapes))} pixels; set `crop`, `pad` or "
                "resize 'exact', or give frames of one size"
            )
        height, width = np.max(shapes, axis=0)
        values = np.zeros((len(images), 3, height, width), np.float32)
        for image, (h, w), target in zip(images, shapes, values, strict=True):
            self._normalise(image, target[:, :h, :w])
        inputs: dict[str, npt.NDArray[Any]] = {"pixel_values": values}
        if self.pad:
            mask = np.zeros((len(images), height, width), np.int64)
            for (h, w), row in zip(shapes, mask, strict=True):
                row[:h, :w] = 1
            inputs["pixel_mask"] = mask
        return Batch(inputs, [(frame.shape[0], frame.shape[1]) for frame in frames])

    def _shaped(self, frame: Frame) -> Frame:
        """Resize and crop one frame: uint8 (H, W, 3) to uint8 (h, w, 3)."""
        height, width = frame.shape[:2]
        if self.resize == "exact":
            target = (self.size, self.size)
        else:
            target = _keep_aspect(height, width, self.size, self.max_size)
        if target != (height, width):
            frame = _resized(frame, target, self.interpolation)
        return frame if self.crop is None else _centre_crop(frame, self.crop)

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


def _check_frame(frame: Any, index: int) -> None:
    wanted = "give uint8 (height, width, 3) RGB arrays, a single one in a list"
    if not isinstance(frame, np.ndarray):
        raise TypeError(f"frame {index} is a {type(frame).__name__}; {wanted}")
    if frame.dtype != np.uint8:
        raise TypeError(f"frame {index} is {frame.dtype}; {wanted}")
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0:
        raise ValueError(f"frame {index} has shape {frame.shape}; {wanted}")


def _keep_aspect(height: int, width: int, size: int, max_size: int | None) -> tuple[int, int]:
    """Height and width after the shorter side became `size`, as torchvision and DETR round.

    DETR applies `max_size` by shrinking `size` first and rounding it, and leaves a frame
    alone whose shorter side then already fits; the longer side follows by truncation.
    """
    short, long = sorted((height, width))
    exact = float(size)
    if max_size is not None and long / short * size > max_size:
        exact = max_size * short / long
        size = round(exact)
    if short == size:
        return height, width
    # In this order, as DETR multiplies: another one may truncate to one pixel less.
    long, size = int(exact * long / short), max(size, 1)
    return (long, size) if width <= height else (size, long)


def _resized(frame: Frame, target: tuple[int, int], interpolation: str) -> Frame:
    from PIL import Image

    height, width = target
    if height * width > _MOST_PIXELS:
        raise ValueError(
            f"a frame of {frame.shape[:2]} pixels would be resized to {target}; "
            "crop it to a less extreme aspect ratio first"
        )
    image = Image.fromarray(np.ascontiguousarray(frame))
    return np.asarray(image.resize((width, height), Image.Resampling[interpolation.upper()]))


def _centre_crop(frame: Frame, side: int) -> Frame:
    """Cut `side` x `side` pixels, rounding offsets as torchvision's `center_crop` does."""
    height, width = frame.shape[:2]
    missing_h, missing_w = max(side - height, 0), max(side - width, 0)
    if missing_h or missing_w:
        before_h, before_w = missing_h // 2, missing_w // 2
        frame = np.pad(
            frame,
            ((before_h, missing_h - before_h), (before_w, missing_w - before_w), (0, 0)),
        )
        height, width = frame.shape[:2]
    # Python's round goes to even on a half, which is torchvision's rule as well.
    top, left = round((height - side) / 2), round((width - side) / 2)
    return frame[top : top + side, left : left + side]
