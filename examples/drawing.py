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
from runtime.tasks.keypoints import Keypoints
from runtime.tasks.restoration import Restoration
from runtime.tasks.segmentation import Segmentation

# Colours that people with any colour vision tell apart: Okabe and Ito, "Color Universal Design".
COLOURS = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66),
    (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip
_INK, _PAPER = (0, 0, 0), (255, 255, 255)
_NAMED = 6  # classes of a segmentation whose names are shown


def annotate(result: Result, sides: tuple[int, int] | None = None) -> Image.Image:
    """The frame in RGB and on it what was found: labelled boxes or points, classes, a caption.

    A restored frame takes the place of what was seen.

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
    elif isinstance(result.prediction, Segmentation):
        _classes(picture, result.prediction)
    elif isinstance(result.prediction, Keypoints):
        _points(picture, result.prediction, scale)
    elif isinstance(result.prediction, Detections):
        _objects(picture, result.prediction, scale)
    elif isinstance(result.prediction, Restoration):
        picture.paste(Image.fromarray(result.prediction.image).resize(picture.size))
    return picture


def describe(result: Result) -> str:
    """What was found in words, the surest first: "ring (2), star"."""
    if isinstance(result.prediction, Classification):
        return result.prediction.top[0].label
    counts = Counter(entry.label for entry in result.prediction.entries())
    return (
        ", ".join(f"{k} ({n})" if n > 1 else k for k, n in counts.items())
        or result.prediction.remark()
    )


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


def _points(picture: Image.Image, found: Keypoints, scale: float) -> None:
    """A dot with its name at its right for each point that is found."""
    draw = ImageDraw.Draw(picture)
    radius = max(3, max(picture.size) // 100)
    shown = [(int(n), *(found.points[n] * scale).tolist()) for n in np.flatnonzero(found.found)]
    for n, x, y in shown:
        place = round(x) + 2 * radius, round(y) + 2 * radius
        _tag(picture, *place, found.names[n], COLOURS[n % len(COLOURS)])
    for n, x, y in shown:  # no name hides a dot
        # Pillow's coordinates are those of the centres of pixels.
        centre = (x - 0.5, y - 0.5)
        draw.circle(centre, radius, COLOURS[n % len(COLOURS)], outline=_INK)


def _classes(picture: Image.Image, found: Segmentation) -> None:
    """Each pixel half in its class's colour, and the names of the largest classes at the left."""
    colours = np.array(COLOURS, np.uint8)[found.class_map % len(COLOURS)]
    layer = Image.fromarray(colours).resize(picture.size, Image.Resampling.NEAREST)
    picture.paste(Image.blend(picture, layer, 0.5))
    bottom = picture.height
    for label, share, _ in found.entries()[:_NAMED]:
        colour = COLOURS[found.labels.index(label) % len(COLOURS)]
        bottom = _tag(picture, 0, bottom, f"{label} {share:.0%}", colour)


def _tag(
    picture: Image.Image, left: int, bottom: int, text: str, colour: tuple[int, int, int]
) -> int:
    """Text on a plate that stands on `bottom`, moved as little as keeps it in the picture.

    Returns the plate's top edge.
    """
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
    return top


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
