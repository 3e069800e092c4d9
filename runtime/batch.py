"""What preprocessing makes: one item prepared, and several as a batch of inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy.typing as npt

from runtime.geometry import Region, Size

WHOLE: Region = (0.0, 0.0, 1.0, 1.0)
"""The region of what covers all of its image."""


class Prepared(NamedTuple):
    """One item, ready to be collated into a batch; it shares no memory with the item.

    Attributes:
        images: of a frame, uint8 (n, h, w, 3) RGB, resized and cropped; one, but of a frame cut
            into tiles. Of other items, what their kind makes, with one row for each that a batch
            will have.
        frame_size: (height, width) in pixels of the frame before resizing; (0, 0) of an item
            without a size.
        regions: what the whole frame covers of each image, in 0..1 of it: left, top, right,
            bottom. (0, 0, 1, 1) but when letterboxed, which leaves edges, or when cropped or cut
            into tiles, which exceeds them.
    """

    images: npt.NDArray[Any]
    frame_size: Size
    regions: Sequence[Region]


class Batch(NamedTuple):
    """What the model is given, and what is needed to map its answers back.

    Attributes:
        inputs: by name, with one row for each image. Of frames, `pixel_values` float32
            (N, 3, H, W) and, when padding, `pixel_mask` int64 (N, H, W) with 1 where there is
            image.
        frame_sizes: (height, width) in pixels of every frame before resizing.
        regions: of every image, what its frame covers of it, as in `Prepared`.
        counts: how many of the images are of each frame, in their order.
    """

    inputs: dict[str, npt.NDArray[Any]]
    frame_sizes: list[Size]
    regions: list[Region]
    counts: list[int]
