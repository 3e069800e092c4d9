"""Draws what an engine found onto the frame it was found in, with Pillow."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from runtime.pipeline import Result
from runtime.pixels import frame_size, planes_of, rgb_of
from runtime.resampling import resized
from runtime.tasks.classification import Classification
from runtime.tasks.detection import Detections

# Colours that people with any colour vision tell apart: Okabe and Ito, "Color Universal Design".
COLOURS = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66),
    (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip
_INK, _PAPER = (0, 0, 0), (255, 255, 255)


def annotate(result: Result, sides: tuple[int, int] | None = None) -> Image.Image:
    """The frame in RGB with a box and a label for each object, or the best class as a caption.

    Args:
        result: of a pipeline.
        sides: the least and the most pixels of the picture's longer side; None keeps the frame's.
    """
    height, width = frame_size(result.frame, result.pixels)
    least, most = sides or (0, max(height, width))
    scale = min(max(height, width, least), most) / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    planes = [
        resized(plane, size, (0, 0, *size), "bilinear")
        for plane in planes_of(result.frame, result.pixels)
    ]
    picture = Image.fromarray(np.ascontiguousarray(rgb_of(planes, result.pixels, height)))
    if isinstance(result.prediction, Classification):
        best = result.prediction.top[0]
        _tag(picture, 0, picture.height, f"{best.label} {best.probability:.0%}", _INK)
    else:
        _objects(picture, result.prediction, scale)
    return picture


def describe(result: Result) -> str:
    """What was found in words, the surest first: "ring (2), star"."""
    if isinstance(result.prediction, Classification):
        return result.prediction.top[0].label
    counts = Counter(result.prediction.labels)
    return ", ".join(f"{k} ({n})" if n > 1 else k for k, n in counts.items()) or "nothing found"


def _objects(picture: Image.Image, found: Detections, scale: float) -> None:
    draw = ImageDraw.Draw(picture)
    line = max(2, max(picture.size) // 200)
    for n in reversed(range(len(found))):  # the surest last, on top of the others
        colour = COLOURS[found.indices[n] % len(COLOURS)]
        left, top, right, bottom = (round(float(edge) * scale) for edge in found.boxes[n])
        # Pillow's right and bottom are the last pixels that it draws on, ours the first beyond.
        draw.rectangle(
            (left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=line
        )
        _tag(picture, left, top, f"{found.labels[n]} {found.scores[n]:.0%}", colour)


def _tag(
    picture: Image.Image, left: int, bottom: int, text: str, colour: tuple[int, int, int]
) -> None:
    """Text on a plate that stands on `bottom`, moved as little as keeps it in the picture."""
    draw = ImageDraw.Draw(picture)
    font = _font(max(10, max(picture.size) // 34))
    width, height = (round(side) for side in draw.textbbox((0, 0), text, font, "lt")[2:])
    pad = height // 3
    width, height = width + 2 * pad, height + 2 * pad
    left = max(0, min(left, picture.width - width))
    top = max(0, min(bottom, picture.height) - height)
    draw.rectangle((left, top, left + width - 1, top + height - 1), fill=colour)
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 128  # luma of ITU BT.601
    draw.text((left + pad, top + pad), text, _INK if bright else _PAPER, font, "lt")


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
