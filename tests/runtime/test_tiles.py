"""Frames of any size as overlapping tiles, and back."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.tiles import cut, stitch

SIZES = [(48, 48), (1, 1), (20, 131), (49, 48), (97, 60), (100, 131)]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def planes(tiles: np.ndarray, scale: int = 1) -> np.ndarray:
    """What a model gives that enlarges each pixel: float32 (n, 3, S, S)."""
    large = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    return large.transpose(0, 3, 1, 2).astype(np.float32)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("overlap", [0, 12, 24])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_tiles_that_nothing_changes_are_the_frame_again(
    size: tuple[int, int], overlap: int, scale: int
) -> None:
    frame = noise(*size)
    found = stitch(planes(cut(frame, 48, overlap)[0], scale), cut(frame, 48, overlap)[1])
    # A mean of up to 16 equal numbers in float32: 255 * 16 * 2**-24.
    np.testing.assert_allclose(
        found, frame.repeat(scale, axis=0).repeat(scale, axis=1), atol=3e-4, rtol=0
    )


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_tile_is_the_part_of_the_mirrored_frame_that_its_region_says(
    size: tuple[int, int],
) -> None:
    frame = noise(*size)
    # A mirror that repeats without end: pixel i of a side of n is |i| in periods of 2 (n - 1).
    rows, columns = (
        np.abs((np.arange(200) + n - 1) % max(2 * (n - 1), 1) - (n - 1)) if n > 1 else np.zeros(200)
        for n in size
    )
    mirrored = frame[rows.astype(int)][:, columns.astype(int)]
    tiles, regions = cut(frame, 48, 12)
    for tile, (left, top, right, bottom) in zip(tiles, regions, strict=True):
        y, x = round(-48 * top), round(-48 * left)
        np.testing.assert_array_equal(tile, mirrored[y : y + 48, x : x + 48])
        assert (round(48 * bottom) + y, round(48 * right) + x) == size


def test_neighbours_share_the_overlap_or_more_and_there_are_no_more_than_needed() -> None:
    for length in range(1, 300):
        _, regions = cut(np.zeros((1, length, 3), np.uint8), 48, 12)
        starts = [round(-48 * left) for left, *_ in regions]
        gaps = np.diff(starts)
        assert starts[0] == 0 and starts[-1] == max(length - 48, 0)
        assert (gaps <= 36).all() and (gaps > 0).all()
        # One tile fewer would not reach.
        assert len(starts) == 1 or 48 + 36 * (len(starts) - 2) < length


def test_a_tile_fades_into_the_next_without_a_step() -> None:
    """Between black and white tiles, no two pixels beside each other differ much."""
    tiles, regions = cut(np.zeros((48, 84, 3), np.uint8), 48, 12)
    assert len(tiles) == 2
    values = np.zeros((2, 3, 48, 48), np.float32)
    values[1] = 1
    row = stitch(values, regions)[20, :, 0]
    assert (row[:36] == 0).all() and (row[48:] == 1).all()
    assert (np.diff(row) >= 0).all()
    # A straight ramp over twelve pixels would rise by 1/13 each, a seam by 1.
    assert np.diff(row).max() < 0.25


def test_what_is_at_the_edge_of_a_tile_hardly_counts_where_another_has_it_inside() -> None:
    _, regions = cut(np.zeros((48, 72, 3), np.uint8), 48, 24)
    values = np.zeros((2, 3, 48, 48), np.float32)
    values[0, ..., -2:] = 1  # columns 46 and 47 of the frame, 22 and 23 of the other tile
    found = stitch(values, regions)[24, :, 0]
    # sin^2 of 1.5 and 0.5 of 48 pixels, against almost 1.
    assert found[46] < 0.011 and found[47] < 0.002


def test_tiles_share_no_memory_with_the_frame() -> None:
    frame = noise(48, 48)
    tiles, _ = cut(frame, 48, 12)
    assert not np.shares_memory(tiles, frame)


@pytest.mark.parametrize(
    ("side", "overlap", "message"),
    [(48, 12, "into 167 x 195 tiles of 48 x 48"), (1, 0, "into 6000 x 7000 tiles of 1 x 1")],
    ids=["pixels", "tiles"],
)
def test_a_frame_of_extreme_size_is_refused_before_anything_is_made_of_it(
    side: int, overlap: int, message: str
) -> None:
    frame = np.broadcast_to(np.uint8(0), (6000, 7000, 3))
    with pytest.raises(ValueError, match=rf"^a frame of 6000 x 7000 .* {message}, .* parts of it"):
        cut(frame, side, overlap)
