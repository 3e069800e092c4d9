"""Antialiased painting: how a polygon, a texture and a background become pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Pixels = NDArray[np.float32]

_SUPERSAMPLE = 4
_MIN_CONTRAST = 0.45  # Euclidean RGB distance; below it a figure can melt into its background


def coverage(points: NDArray[np.float64], height: int, width: int) -> Pixels:
    """Returns the share of every pixel that a polygon covers, float32 (H, W) in 0..1.

    Args:
        points: (P, 2) corners as (x, y) in pixels; pixel (i, j) spans j..j+1 by i..i+1.
        height: rows of the result.
        width: columns of the result.
    """
    scale = _SUPERSAMPLE
    mask = Image.new("L", (width * scale, height * scale))
    ImageDraw.Draw(mask).polygon((points * scale).ravel().tolist(), fill=255)
    return np.asarray(mask.reduce(scale), dtype=np.float32) * np.float32(1 / 255)


def palette(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draws two background colours and two figure colours that stand out: (2, 3) each, 0..1."""
    background = rng.uniform(0.0, 1.0, 3) + rng.uniform(-0.15, 0.15, (2, 3))
    background = background.clip(0, 1)
    return background, figure_colors(rng, background)


def figure_colors(rng: np.random.Generator, background: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draws two related colours, (2, 3) in 0..1, that contrast with the background's."""
    while True:
        colors = (rng.uniform(0.0, 1.0, 3) + rng.uniform(-0.2, 0.2, (2, 3))).clip(0, 1)
        gaps = np.linalg.norm(colors[:, None] - background[None], axis=2)
        if gaps.min() >= _MIN_CONTRAST:
            return colors


def texture(
    rng: np.random.Generator, colors: NDArray[np.float64], height: int, width: int
) -> Pixels:
    """Mixes two colours by a random pattern: plain, gradient, stripes, checks or waves.

    Returns:
        float32 (H, W, 3) in 0..1.
    """
    pattern = rng.integers(5)
    angle, period = rng.uniform(0, np.pi), rng.uniform(4.0, 12.0)
    phase = rng.uniform(0, 2 * np.pi, 2)
    low, high = colors.astype(np.float32)
    if pattern == 0:
        return np.broadcast_to(low, (height, width, 3))
    rows = np.arange(height, dtype=np.float32)[:, None]
    columns = np.arange(width, dtype=np.float32)[None, :]
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    along, across = cos * columns + sin * rows, cos * rows - sin * columns
    wave = np.float32(2 * np.pi / period)
    if pattern == 1:
        mix = (along - along.min()) / np.ptp(along)
    elif pattern == 2:
        mix = (np.sin(wave * along + phase[0]) > 0).astype(np.float32)
    elif pattern == 3:
        mix = (
            (np.sin(wave * along + phase[0]) > 0) ^ (np.sin(wave * across + phase[1]) > 0)
        ).astype(np.float32)
    else:
        mix = 0.25 * (2 + np.sin(wave * along + phase[0]) + np.sin(wave * across + phase[1]))
    mixed: Pixels = low + mix[..., None].astype(np.float32) * (high - low)
    return mixed


def shading(
    rng: np.random.Generator, colors: NDArray[np.float64], height: int, width: int
) -> Pixels:
    """Blends two colours along a random direction, float32 (H, W, 3) in 0..1."""
    angle = rng.uniform(0, 2 * np.pi)
    rows = np.arange(height, dtype=np.float32)[:, None]
    columns = np.arange(width, dtype=np.float32)[None, :]
    along = np.cos(angle) * columns + np.sin(angle) * rows
    mix = ((along - along.min()) / np.ptp(along)).astype(np.float32)
    low, high = colors.astype(np.float32)
    blended: Pixels = low + mix[..., None] * (high - low)
    return blended


def background(
    rng: np.random.Generator, colors: NDArray[np.float64], height: int, width: int
) -> Pixels:
    """Paints a textured background under strokes and specks of any colour, float32 (H, W, 3)."""
    base = (texture(rng, colors, height, width) * 255).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(base))
    draw = ImageDraw.Draw(image)
    extent = np.array([width, height, width, height])
    for ends in rng.uniform(-0.1, 1.1, (rng.integers(2, 7), 4)) * extent:
        draw.line(ends.tolist(), fill=_color(rng), width=int(rng.integers(1, 3)))
    for x, y in rng.uniform(0, 1, (rng.integers(0, 9), 2)) * extent[:2]:
        draw.rectangle((x, y, x + rng.integers(1, 3), y + rng.integers(1, 3)), fill=_color(rng))
    return np.asarray(image, dtype=np.float32) * np.float32(1 / 255)


def finish(rng: np.random.Generator, canvas: Pixels) -> NDArray[np.uint8]:
    """Adds sensor noise of a random strength and quantises to uint8 (H, W, 3)."""
    noise = rng.standard_normal(canvas.shape, dtype=np.float32) * np.float32(rng.uniform(0, 0.06))
    return quantised(canvas + noise)


def quantised(canvas: Pixels) -> NDArray[np.uint8]:
    """Rounds values in 0..1, cutting off others, to uint8 of the same shape."""
    return (canvas.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _color(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue
