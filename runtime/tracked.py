"""Frames with what a tracker has found before: its track queries, beside the pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from runtime.batch import WHOLE, Batch, Prepared
from runtime.pixels import Frame, frame_size
from runtime.preparation import Preparation
from runtime.preprocess import Preprocess, check_nested

_MOST = 1 << 20  # numbers of a frame's track queries


class _Image(NamedTuple):
    """A prepared frame uint8 (h, w, 3), its track queries (Q, D) and their mask (Q,)."""

    image: npt.NDArray[np.uint8]
    queries: npt.NDArray[np.float32]
    mask: npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Tracked(Preparation):
    """Prepares frames, and fills their track queries up to a fixed number.

    An item is a frame, uint8 (H, W, 3), in which nothing is followed yet; or a mapping of `frame`
    and `track_queries` float32 (n, width), n at most `queries`; or a clip, uint8 (T, H, W, 3), of
    which nothing is followed yet in any frame.

    Attributes:
        frames: how each frame is prepared; every frame becomes one image.
        queries: the most tracks that the model takes.
        width: of a track query.

    Raises:
        ValueError, TypeError: a field that makes no sense.
    """

    kind: ClassVar[str] = "tracked"

    frames: Preprocess
    queries: int
    width: int

    def __post_init__(self) -> None:
        """Check every field."""
        check_nested(self.frames)
        fixed = self.frames.resize in ("exact", "letterbox") or self.frames.crop is not None
        if self.frames.pad or not fixed:
            raise ValueError(
                f"preprocess.frames has resize {self.frames.resize!r} and pad {self.frames.pad}; "
                "give 'exact', 'letterbox' or a crop, so that every frame is one image of one size"
            )
        for name in ("queries", "width"):
            value = getattr(self, name)
            if type(value) is not int:
                raise TypeError(f"preprocess.{name} is {value!r}; give an integer")
            if value < 1 or self.queries * self.width > _MOST:
                raise ValueError(
                    f"preprocess.{name} is {value}; give at least 1, and {_MOST} numbers in all "
                    "queries at most"
                )

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Tracked:
        """See `Preparation`."""
        known = [field.name for field in dataclasses.fields(cls)]
        if sorted(record) != sorted(known):
            found = ", ".join(sorted(map(str, record))) or "nothing"
            raise ValueError(f"preprocess of tracked has {found}; give {', '.join(known)}")
        return cls(Preprocess.from_dict(record["frames"]), record["queries"], record["width"])

    def to_dict(self) -> dict[str, Any]:
        """See `Preparation`."""
        sizes = {"queries": self.queries, "width": self.width}
        return {"kind": self.kind, "frames": self.frames.to_dict(), **sizes}

    @property
    def example(self) -> dict[str, npt.NDArray[Any]]:
        """See `Preparation`; of all tracks."""
        queries = np.random.default_rng(0).standard_normal((self.queries, self.width), np.float32)
        return {"frame": self.frames.example, "track_queries": queries}

    def check(self, items: Sequence[Any], pixels: str) -> None:
        """See `Preparation`."""
        if isinstance(items, np.ndarray):
            raise ValueError(
                f"frames is one array of shape {items.shape}; give a list, a single frame or clip "
                "in a list too"
            )
        for index, item in enumerate(items):
            self._taken_apart(item, pixels, f"item {index}")

    def prepare(self, item: Any, pixels: str = "RGB") -> Prepared:
        """One frame, or each of a clip, with its track queries, in an array of objects."""
        frames, queries, mask = self._taken_apart(item, pixels, "the item")
        prepared = [self.frames.prepare(frame, pixels) for frame in frames]
        rows = np.empty(len(prepared), object)
        for index, one in enumerate(prepared):
            rows[index] = _Image(one.images[0], queries, mask)
        regions = [region for one in prepared for region in one.regions]
        return Prepared(rows, prepared[0].frame_size, regions)

    def collate(self, prepared: Sequence[Prepared]) -> Batch:
        """`pixel_values` float32 (N, 3, H, W), `track_queries` (N, Q, D) and `track_mask` (N, Q).

        Raises:
            ValueError: no item, or frames of different sizes.
        """
        rows: list[_Image] = [row for one in prepared for row in one.images]
        images = [Prepared(row.image[None], (0, 0), (WHOLE,)) for row in rows]
        inputs = self.frames.collate(images).inputs
        inputs["track_queries"] = np.stack([row.queries for row in rows])
        inputs["track_mask"] = np.stack([row.mask for row in rows])
        regions = [region for one in prepared for region in one.regions]
        sizes, counts = zip(*((one.frame_size, len(one.images)) for one in prepared), strict=True)
        return Batch(inputs, list(sizes), regions, list(counts))

    def _taken_apart(
        self, item: Any, pixels: str, name: str
    ) -> tuple[Sequence[Frame], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Frames, and the full track queries and mask of each of them."""
        queries = np.zeros((self.queries, self.width), np.float32)
        mask = np.zeros(self.queries, np.float32)
        frames: Sequence[Frame] = [item]
        if isinstance(item, Mapping):
            if item.keys() != {"frame", "track_queries"}:
                found = ", ".join(sorted(map(str, item)))[:80] or "nothing"
                raise TypeError(f"{name} has {found}; give frame and track_queries")
            frames, given = [item["frame"]], self._checked(item["track_queries"], name)
            queries[: len(given)], mask[: len(given)] = given, 1
        elif isinstance(item, np.ndarray) and item.ndim == 4 and len(item):
            frames = list(item)
        for frame in frames:
            frame_size(frame, pixels, f"the frame of {name}")
        return frames, queries, mask

    def _checked(self, queries: Any, name: str) -> npt.NDArray[np.float32]:
        """Refuse what is no finite float32 array of at most so many track queries."""
        if not isinstance(queries, np.ndarray) or queries.dtype != np.float32:
            found = queries.dtype if isinstance(queries, np.ndarray) else type(queries).__name__
            raise TypeError(f"track_queries of {name} is {found}; give a numpy array of float32")
        if queries.shape[1:] != (self.width,) or len(queries) > self.queries:
            raise ValueError(
                f"track_queries of {name} has shape {queries.shape}; give at most "
                f"({self.queries}, {self.width})"
            )
        if not np.isfinite(queries).all():
            raise ValueError(f"track_queries of {name} has NaN or infinity; give finite numbers")
        return queries
