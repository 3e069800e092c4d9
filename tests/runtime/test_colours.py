"""Colours: the nearest of a palette, as `transformers` finds it, and its records."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from runtime.colours import Colours
from runtime.preparation import read_preparation


def frame(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def palette(count: int, seed: int = 0) -> list[list[float]]:
    return np.random.default_rng(seed).uniform(0, 255, (count, 3)).tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(1, 9), st.integers(0, 10_000))
def test_each_token_is_the_nearest_colour(count: int, side: int, seed: int) -> None:
    colours = Colours(size=side, clusters=palette(count, seed))
    image = frame(side, side, seed)
    (tokens,) = colours([image]).inputs["input_ids"]
    apart = np.linalg.norm(image.reshape(-1, 1, 3) - np.array(colours.clusters), axis=2)
    np.testing.assert_array_equal(tokens, apart.argmin(axis=1))
    assert tokens.dtype == np.int64


def test_tokens_are_those_of_the_hubs_processor() -> None:
    processors = pytest.importorskip("transformers.models.imagegpt")
    clusters = np.random.default_rng(1).uniform(-1, 1, (64, 3))
    size = {"height": 16, "width": 16}
    theirs = processors.ImageGPTImageProcessor(clusters=clusters.tolist(), size=size)
    image = frame(16, 16)
    expected = theirs(images=[Image.fromarray(image)], return_tensors="np")["input_ids"]
    ours = Colours(size=16, clusters=((clusters + 1) * 127.5).tolist())
    assert ours([image]).inputs["input_ids"].tolist() == np.asarray(expected).tolist()


def test_frames_are_resized_as_others_are_and_read_row_by_row() -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    image[10:, :15] = 255  # below, on the left
    batch = Colours(size=4, levels=2)([image, image[::-1]])
    upper, lower = [0] * 4, [7, 7, 0, 0]
    assert batch.inputs["input_ids"].tolist() == [
        (upper * 2) + (lower * 2),
        (lower * 2) + (upper * 2),
    ]
    assert batch.frame_sizes == [(20, 30)] * 2 and batch.counts == [1, 1]
    assert batch.regions == [(0.0, 0.0, 1.0, 1.0)] * 2


def test_levels_are_a_regular_palette() -> None:
    expected = list(itertools.product((0, 127.5, 255), repeat=3))
    assert Colours(size=2, levels=3).palette.tolist() == [list(colour) for colour in expected]


def test_grey_clusters_are_greys_of_every_layout() -> None:
    greys = Colours(size=2, clusters=[[0], [100.5], [255]])
    levels = np.array([[0, 49], [51, 200]], np.uint8)
    expected = [[0, 0, 1, 2]]
    assert greys([levels], pixels="GREY").inputs["input_ids"].tolist() == expected
    as_colours = np.repeat(levels[..., None], 3, axis=2)
    assert greys([as_colours]).inputs["input_ids"].tolist() == expected


def test_a_picture_of_tokens_is_in_the_colours_of_the_palette() -> None:
    colours = Colours(size=8, clusters=np.rint(palette(9)).tolist())
    image = colours.palette.astype(np.uint8)[np.arange(64) % 9].reshape(8, 8, 3)
    tokens = colours([image]).inputs["input_ids"][0]
    np.testing.assert_array_equal(colours.picture(tokens), image)


@pytest.mark.parametrize(
    "record",
    [
        {"kind": "colours", "size": 16, "levels": 8, "interpolation": "bilinear"},
        {"kind": "colours", "size": 3, "clusters": [[1, 2, 3.5], [4]], "interpolation": "nearest"},
    ],
    ids=["levels", "clusters"],
)
def test_a_record_is_read_and_written(record: dict[str, Any]) -> None:
    found = read_preparation(record)
    assert isinstance(found, Colours)
    assert found.to_dict() == record
    assert found([found.example]).inputs["input_ids"].shape == (1, found.size**2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"levels": 2}, r"^preprocess of colours lacks size; it knows size, clusters, levels"),
        ({"size": 4, "levels": 2, "mean": 0}, r"^preprocess of colours has mean"),
        ({"size": 0, "levels": 2}, r"^preprocess.size is 0; give 1 to 256"),
        ({"size": True, "levels": 2}, r"^preprocess.size is True"),
        ({"size": 4}, r"^preprocess has clusters and levels, or neither"),
        ({"size": 4, "levels": 2, "clusters": [[1], [2]]}, r"^preprocess has clusters and levels"),
        ({"size": 4, "levels": 41}, r"^preprocess.levels is 41; give an integer, 2 to 40"),
        ({"size": 4, "clusters": [[1]]}, r"^preprocess.clusters is no list of 2 to 65536"),
        ({"size": 4, "clusters": [[1], [1, 2]]}, r"^preprocess.clusters\[1\] is \[1, 2\]"),
        ({"size": 4, "clusters": [[1], [256]]}, r"clusters\[1\] is \[256\].*in 0..255$"),
        ({"size": 4, "clusters": [[1], [float("nan")]]}, r"clusters\[1\] is \[nan\]"),
        ({"size": 4, "levels": 2, "interpolation": "area"}, r"^preprocess.interpolation is 'area'"),
    ],
)
def test_a_record_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_preparation({"kind": "colours", **fields})


def test_what_is_no_frame_is_refused() -> None:
    colours = Colours(size=4, levels=2)
    with pytest.raises(TypeError, match="uint8"):
        colours([np.zeros((4, 4, 3))])
    with pytest.raises(ValueError, match="at least one"):
        colours([])
