"""From clips to a batch: so many frames of each, prepared as frames are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from runtime.batch import Batch, Prepared
from runtime.pixels import frame_size, noise
from runtime.preparation import Preparation
from runtime.preprocess import Preprocess, check_nested

Clip = npt.NDArray[np.uint8]
_LONGEST = 1 << 12  # frames of what a model is given


@dataclasses.dataclass(frozen=True)
class Clips(Preparation):
    """Takes frames of each clip at equal distances, and prepares each of them.

    A clip of `length` frames is taken as it is. Of another number n, frame floor((i + 1/2) n /
    length) becomes frame i: the middle of each of `length` equal parts, so that a shorter clip
    shows some frames again.

    Attributes:
        frames: how each frame is prepared; every frame of a clip becomes one image.
        length: frames that the model takes.

    Raises:
        ValueError, TypeError: a field that makes no sense.
    """

    kind: ClassVar[str] = "clips"

    frames: Preprocess
    length: int

    def __post_init__(self) -> None:
        """Check every field."""
        check_nested(self.frames)
        if self.frames.pad or self.frames.resize == "tiles":
            raise ValueError(
                f"preprocess.frames has resize {self.frames.resize!r} and pad {self.frames.pad}; "
                "give a resize other than 'tiles' and no pad, so that a frame is one image"
            )
        if type(self.length) is not int:
            raise TypeError(f"preprocess.length is {self.length!r}; give an integer, in frames")
        if not 1 <= self.length <= _LONGEST:
            raise ValueError(f"preprocess.length is {self.length}; give 1 to {_LONGEST} frames")

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Clips:
        """See `Preparation`."""
        known = [field.name for field in dataclasses.fields(cls)]
        if sorted(record) != sorted(known):
            found = ", ".join(sorted(map(str, record))) or "nothing"
            raise ValueError(f"preprocess of clips has {found}; give {' and '.join(known)}")
        return cls(Preprocess.from_dict(record["frames"]), record["length"])

    def to_dict(self) -> dict[str, Any]:
        """See `Preparation`."""
        return {"kind": self.kind, "frames": self.frames.to_dict(), "length": self.length}

    @property
    def example(self) -> Clip:
        """See `Preparation`."""
        return noise(self.length, *self.frames.image_size, 3)

    def check(self, items: Sequence[Any], pixels: str) -> None:
        """Check that everything in a sequence is a clip: frames of one size in one array.

        Raises:
            TypeError, ValueError: as `runtime.pixels.frame_size`.
        """
        if isinstance(items, np.ndarray) and items.ndim <= (3 if pixels in ("GREY", "NV12") else 4):
            raise ValueError(
                f"clips is one array of shape {items.shape}; give a list, a single one in a list "
                "too"
            )
        for index, clip in enumerate(items):
            _check(clip, pixels, f"clip {index}")

    def prepare(self, item: Clip, pixels: str = "RGB") -> Prepared:
        """Choose, resize and crop the frames of one clip (T, H, W, 3), for `collate`.

        Raises:
            ValueError, TypeError: not a clip of that layout, or frames of extreme size.
        """
        _check(item, pixels, "the clip")
        chosen = self.chosen(len(item))
        frames = [self.frames.prepare(item[index], pixels) for index in chosen]
        images = np.concatenate([frame.images for frame in frames])
        return Prepared(images[None], frames[0].frame_size, frames[0].regions)

    def chosen(self, count: int) -> list[int]:
        """Which frames are taken of a clip of so many."""
        return [(2 * index + 1) * count // (2 * self.length) for index in range(self.length)]

    def collate(self, prepared: Sequence[Prepared]) -> Batch:
        """Normalised clips as `pixel_values` float32 (N, T, 3, H, W).

        Raises:
            ValueError: no clip, or clips of different sizes.
        """
        frames = [one._replace(images=one.images[0]) for one in prepared]
        batch = self.frames.collate(frames)
        values = batch.inputs["pixel_values"]
        inputs = {"pixel_values": values.reshape(-1, self.length, *values.shape[1:])}
        return Batch(inputs, batch.frame_sizes, batch.regions, [1] * len(prepared))


def _check(clip: Any, pixels: str, name: str) -> None:
    """Refuse what is no array of frames."""
    if isinstance(clip, np.ndarray) and clip.ndim and len(clip):
        frame_size(clip[0], pixels, f"a frame of {name}")
        return
    found = f"shape {clip.shape}" if isinstance(clip, np.ndarray) else type(clip).__name__
    raise TypeError(f"{name} is {found}; give a uint8 array (frames, height, width, 3)")
