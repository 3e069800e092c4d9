"""The layouts in which cameras and decoders give frames, and the way from each to RGB.

"RGB" and "BGR" are (height, width, 3), "GREY" is (height, width) or (height, width, 1). "NV12" is
(3/2 height, width): the luma of every pixel, then rows of alternating U and V for blocks of 2 x 2.
Its range is limited (16 to 235), its matrix BT.601 up to 576 lines and BT.709 above, which is what
GStreamer assumes of video that does not say; OpenCV's `COLOR_YUV2RGB_NV12` is BT.601 for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]

LAYOUTS = {
    "RGB": "(height, width, 3) RGB",
    "BGR": "(height, width, 3) BGR",
    "GREY": "(height, width) or (height, width, 1) grey",
    "NV12": "(3/2 height, width) NV12, of even height and width,",
}
"""What `pixels` may be, and the shape of such frames for messages."""
_LONGEST_SIDE = 1 << 16  # in pixels; a filter's weights take up to 48 bytes for each
_MOST_PIXELS = 1 << 27  # Pillow's copy takes 4 bytes for each
_LINES_OF_BT601 = 576
# Shares of red and blue in luma (ITU-R BT.601-7 and BT.709-6, 3.2 of both); green has the rest.
_BT601, _BT709 = (0.299, 0.114), (0.2126, 0.0722)


def noise(*shape: int) -> Frame:
    """Frames to trace or to time with: uint8 of that shape, the same in every call."""
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def check_frames(frames: Sequence[Any], pixels: str) -> None:
    """Check that everything in a sequence is a frame.

    Raises:
        TypeError, ValueError: as `frame_size`; or `frames` is one frame instead of a list of it.
    """
    _check_layout(pixels)
    if isinstance(frames, np.ndarray) and _lines(frames.shape, pixels):
        raise ValueError(
            f"frames is one array of shape {frames.shape}; give a list, a single one in a list too"
        )
    for index, frame in enumerate(frames):
        frame_size(frame, pixels, f"frame {index}")


def frame_size(frame: Any, pixels: str, name: str = "the frame") -> tuple[int, int]:
    """Height and width in pixels of a frame.

    Args:
        frame: of any type.
        pixels: its layout.
        name: what messages call it.

    Raises:
        TypeError: not an array of uint8.
        ValueError: of another shape than its layout has, empty, or too large; or no such layout.
    """
    _check_layout(pixels)
    wanted = f"give uint8 {LAYOUTS[pixels]} arrays"
    if not isinstance(frame, np.ndarray):
        raise TypeError(f"{name} is a {type(frame).__name__}; {wanted}")
    if frame.dtype != np.uint8:
        raise TypeError(f"{name} is {frame.dtype}; {wanted}")
    lines = _lines(frame.shape, pixels)
    if lines is None:
        raise ValueError(f"{name} has shape {frame.shape}; {wanted}")
    height, width = lines, frame.shape[1]
    if max(height, width) > _LONGEST_SIDE or height * width > _MOST_PIXELS:
        raise ValueError(
            f"{name} has {height} x {width} pixels; give at most {_LONGEST_SIDE} a side and "
            f"{_MOST_PIXELS} in all"
        )
    return height, width


def _check_layout(pixels: Any) -> None:
    if not isinstance(pixels, str) or pixels not in LAYOUTS:
        raise ValueError(f"pixels is {pixels!r}; use one of {', '.join(LAYOUTS)}")


def _lines(shape: tuple[int, ...], pixels: str) -> int | None:
    """Height in pixels of a frame in an array of that shape; None where it cannot be one."""
    if pixels == "NV12":
        fits = len(shape) == 2 and shape[0] % 3 == 0 and shape[1] % 2 == 0
    elif pixels == "GREY":
        fits = len(shape) == 2 or (len(shape) == 3 and shape[2] == 1)
    else:
        fits = len(shape) == 3 and shape[2] == 3
    if not fits or 0 in shape:
        return None
    return shape[0] * 2 // 3 if pixels == "NV12" else shape[0]


def planes_of(frame: Frame, pixels: str) -> list[Frame]:
    """What of a frame can be resized by itself: views (h, w) or (h, w, 3) that cover it whole."""
    frame = np.asarray(frame)  # of a subclass, such as a matrix, the plain array
    if pixels == "GREY":
        return [frame.reshape(frame.shape[:2])]
    if pixels != "NV12":
        return [frame]
    lines = frame.shape[0] * 2 // 3
    return [frame[:lines], frame[lines:, 0::2], frame[lines:, 1::2]]


def rgb_of(planes: list[Frame], pixels: str, lines: int) -> Frame:
    """RGB (h, w, 3) of planes that were resized alike, as a view where that is possible.

    Args:
        planes: as `planes_of` gives them, but of one size.
        pixels: their layout.
        lines: height in pixels of the frame that they come from.
    """
    first = planes[0]
    if pixels == "NV12":
        return _rgb_of_yuv(planes, _BT709 if lines > _LINES_OF_BT601 else _BT601)
    if pixels == "GREY":
        return np.broadcast_to(first[..., None], (*first.shape, 3))
    return first[..., ::-1] if pixels == "BGR" else first


def _rgb_of_yuv(planes: list[Frame], shares: tuple[float, float]) -> Frame:
    """Limited-range Y, U and V to RGB, rounded to the nearest; blacker than black is black."""
    red, blue = shares
    green = 1 - red - blue
    y, u, v = (plane.astype(np.float32) for plane in planes)
    y = np.maximum(y - 16, 0) * np.float32(255 / 219)
    u, v = ((c - 128) * np.float32(255 / 112) for c in (u, v))
    rgb = np.stack(
        [
            y + np.float32(1 - red) * v,
            y - np.float32(blue * (1 - blue) / green) * u - np.float32(red * (1 - red) / green) * v,
            y + np.float32(1 - blue) * u,
        ],
        axis=-1,
    )
    return np.asarray(np.rint(rgb).clip(0, 255), np.uint8)
