"""From frames to the nearest colours of a palette, one token for each pixel, and back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from runtime.batch import Batch, Prepared
from runtime.pixels import Frame, check_frames, noise
from runtime.preparation import Preparation, check_fields
from runtime.preprocess import Preprocess

_LARGEST_SIDE = 256  # in pixels; every pixel attends to all before it
_MOST_COLOURS = 1 << 16
_WHITE = 255


@dataclasses.dataclass(frozen=True)
class Colours(Preparation):
    """Resizes frames to a square and names the colour of each pixel, row by row.

    A token is the index of the colour that is nearest in RGB, the first among equals.

    Attributes:
        size: side of the square in pixels.
        clusters: the palette, in grey levels 0..255, fractions included: [red, green, blue], or
            [grey] of a colour that has the same of each. None takes `levels`.
        levels: for a palette of evenly spaced levels of each primary, from black to white; their
            number. Blue changes fastest.
        interpolation: "nearest", "bilinear", "bicubic" or "lanczos".

    Raises:
        ValueError, TypeError: a field that makes no sense.
    """

    kind: ClassVar[str] = "colours"

    size: int
    clusters: Sequence[Sequence[float]] | None = None
    levels: int | None = None
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        """Check every field."""
        if type(self.size) is not int or not 1 <= self.size <= _LARGEST_SIDE:
            raise ValueError(f"preprocess.size is {self.size!r}; give 1 to {_LARGEST_SIDE} pixels")
        _resize(self.size, self.interpolation)
        if (self.clusters is None) == (self.levels is None):
            raise ValueError("preprocess has clusters and levels, or neither; give one of the two")
        most = math.floor(_MOST_COLOURS ** (1 / 3))
        if self.clusters is not None:
            object.__setattr__(self, "clusters", _colours(self.clusters))
        elif type(self.levels) is not int or not 2 <= self.levels <= most:
            raise ValueError(f"preprocess.levels is {self.levels!r}; give an integer, 2 to {most}")

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Colours:
        """See `Preparation`."""
        known = [field.name for field in dataclasses.fields(cls)]
        check_fields(cls.kind, record, known, needed="size")
        return cls(**record)

    def to_dict(self) -> dict[str, Any]:
        """See `Preparation`."""
        record: dict[str, Any] = {"kind": self.kind, "size": self.size}
        if self.clusters is None:
            record["levels"] = self.levels
        else:
            record["clusters"] = [list(colour) for colour in self.clusters]
        return {**record, "interpolation": self.interpolation}

    @cached_property
    def palette(self) -> npt.NDArray[np.float64]:
        """The colours (V, 3), RGB in grey levels."""
        if self.clusters is not None:
            return np.array([tuple(c) * (3 // len(c)) for c in self.clusters], np.float64)
        steps = np.linspace(0, _WHITE, self.levels or 0)
        return np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)

    @property
    def example(self) -> Frame:
        """See `Preparation`."""
        return noise(self.size, self.size, 3)

    def check(self, items: Sequence[Any], pixels: str) -> None:
        """Check that everything in a sequence is a frame; see `runtime.pixels.check_frames`."""
        check_frames(items, pixels)

    def prepare(self, item: Frame, pixels: str = "RGB") -> Prepared:
        """The tokens of one frame: int64 (1, size²)."""
        resized = _resize(self.size, self.interpolation).prepare(item, pixels)
        colours = resized.images.reshape(-1, 3).astype(np.float64)
        # |p - c|² without |p|², which is the same for every c.
        distances = np.square(self.palette).sum(axis=1) - 2 * colours @ self.palette.T
        tokens = distances.argmin(axis=1)[None].astype(np.int64)
        return Prepared(tokens, resized.frame_size, resized.regions)

    def collate(self, prepared: Sequence[Prepared]) -> Batch:
        """A batch whose `input_ids` are int64 (N, size²)."""
        if len(prepared) == 0:
            raise ValueError("found no frames; a batch needs at least one")
        tokens = np.concatenate([one.images for one in prepared])
        sizes = [one.frame_size for one in prepared]
        regions = [region for one in prepared for region in one.regions]
        return Batch({"input_ids": tokens}, sizes, regions, [1] * len(prepared))

    def picture(self, tokens: npt.NDArray[np.int64]) -> Frame:
        """The frame, uint8 (size, size, 3), that tokens (size²,) stand for."""
        colours = np.rint(self.palette).astype(np.uint8)
        return colours[tokens].reshape(self.size, self.size, 3)


def _resize(size: int, interpolation: str) -> Preprocess:
    return Preprocess(resize="exact", size=size, interpolation=interpolation)


def _colours(clusters: Any) -> tuple[tuple[float, ...], ...]:
    wanted = "give a list of [red, green, blue] or [grey], in 0..255"
    if not isinstance(clusters, Sequence) or not 2 <= len(clusters) <= _MOST_COLOURS:
        raise ValueError(f"preprocess.clusters is no list of 2 to {_MOST_COLOURS}; {wanted}")
    for index, colour in enumerate(clusters):
        if (
            not isinstance(colour, Sequence)
            or len(colour) not in (1, 3)
            or not all(type(n) in (int, float) and 0 <= n <= _WHITE for n in colour)
        ):
            raise ValueError(f"preprocess.clusters[{index}] is {colour!r}; {wanted}")
    return tuple(tuple(colour) for colour in clusters)
