"""Optimisation profiles: the shapes that a TensorRT engine is built for."""

from __future__ import annotations

from collections.abc import Sequence

from engines.tensorrt import Profile
from runtime import Preprocess
from runtime.manifest import TensorInfo
from runtime.preparation import Preparation

# Photographs are mostly 4:3; a profile is tuned for them lying and standing.
_LONG, _SHORT = 4, 3
# The bound on the longer side makes the shorter side of long frames smaller than `size`: with
# DETR's 800 and 1333 down to this part, for frames of up to 3.3 : 1.
_LEAST = 2


def profiles(
    inputs: Sequence[TensorInfo], preprocess: Preparation, max_batch: int
) -> tuple[Profile, ...]:
    """One profile for single images and one for batches, or one for each way to hold a camera.

    A profile that is tuned for one image is faster there than one tuned for eight
    (https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-dynamic-shapes.html),
    so models of a fixed image size have both. Where images keep their shape (DETR), the sizes
    decide, and every batch is in both profiles.

    Args:
        inputs: of the model, with named axes "batch", "height" and "width" where they may change.
        preprocess: of the model, which bounds what images may become.
        max_batch: images at most.
    """
    if not isinstance(preprocess, Preprocess) or not preprocess.pad:
        batches = ((1, 1, 1), (1, max_batch, max_batch))
        return tuple(_profile(inputs, {"batch": b}) for b in batches[: 1 if max_batch == 1 else 2])
    size = preprocess.image_size[0]
    longest = preprocess.max_size or 2 * size
    long = min(longest, size * _LONG // _SHORT)
    short = min(size, long)
    found = []
    for height, width in ((short, long), (long, short)):
        axes = {
            "batch": (1, 1, max_batch),
            "height": (size // _LEAST, height, longest),
            "width": (size // _LEAST, width, longest),
        }
        found.append(_profile(inputs, axes))
    return tuple(found)


def _profile(inputs: Sequence[TensorInfo], axes: dict[str, tuple[int, int, int]]) -> Profile:
    def shape(info: TensorInfo, which: int) -> tuple[int, ...]:
        return tuple(axes[a][which] if isinstance(a, str) else a for a in info.shape)

    return Profile({i.name: (shape(i, 0), shape(i, 1), shape(i, 2)) for i in inputs})
