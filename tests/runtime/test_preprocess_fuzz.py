"""Whatever is given as frames or as settings: finite numbers, or one line that says why not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from runtime import Preprocess

PIXELS = ["RGB", "BGR", "GREY", "NV12"]
SIDES = st.one_of(st.integers(1, 40), st.sampled_from([2, 8, 64, 999]))
SHAPES = {
    "RGB": st.tuples(SIDES, SIDES, st.just(3)),
    "BGR": st.tuples(SIDES, SIDES, st.just(3)),
    "GREY": st.tuples(SIDES, SIDES) | st.tuples(SIDES, SIDES, st.just(1)),
    "NV12": st.tuples(SIDES.map(lambda n: 3 * n), SIDES.map(lambda n: 2 * n)),
}
NUMBERS = st.floats(-1e9, 1e9) | st.floats(0.01, 1) | st.sampled_from([0, 1, 1e-300, 1e300])
RECORDS = st.fixed_dictionaries(
    {"size": st.integers(1, 48) | st.lists(st.integers(1, 48), min_size=2, max_size=2)},
    optional={
        "resize": st.sampled_from(["exact", "shortest_edge", "letterbox"]),
        "max_size": st.none() | st.integers(1, 80),
        "crop": st.none() | st.integers(1, 64),
        "interpolation": st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
        "mean": st.lists(NUMBERS, min_size=3, max_size=3),
        "std": st.lists(NUMBERS, min_size=3, max_size=3),
        "color": st.sampled_from(["RGB", "BGR"]),
        "pad": st.booleans(),
        "fill": st.integers(0, 255),
    },
)
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
JUNK = st.dictionaries(
    st.sampled_from([*Preprocess().to_dict(), "fill", "else"]),
    VALUES | st.lists(VALUES, max_size=4),
    max_size=4,
)
# Few bytes of memory, whatever its shape.
HUGE = st.lists(st.sampled_from([0, 1, 2, 3, 6, 8192, 65_536, 10**8]), max_size=4).filter(
    lambda shape: math.prod(side or 1 for side in shape) < 1 << 62  # numpy's own limit
)


def or_one_line(make: Callable[[], Any]) -> Any:
    """What `make` gives; None when it says in one line what is wrong."""
    try:
        return make()
    except (ValueError, TypeError) as error:
        assert str(error)
        assert "\n" not in str(error)
        return None


def picture(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@settings(max_examples=300, deadline=None)
@given(st.data(), RECORDS, st.sampled_from(PIXELS), st.integers(1, 3))
def test_every_frame_becomes_finite_numbers(
    data: st.DataObject, record: dict[str, Any], pixels: str, count: int
) -> None:
    preprocess = or_one_line(lambda: Preprocess.from_dict(record))
    assume(preprocess is not None)
    frames = [picture(data.draw(SHAPES[pixels]), seed) for seed in range(count)]
    batch = or_one_line(lambda: preprocess(frames, pixels=pixels))
    if batch is None:  # frames of one batch that keep their shapes have several, without padding
        assert (preprocess.resize, preprocess.crop, preprocess.pad) == (
            "shortest_edge",
            None,
            False,
        )
        return
    values = batch.inputs["pixel_values"]
    assert values.dtype == np.float32
    assert values.shape[:2] == (count, 3)
    if preprocess.crop or preprocess.resize != "shortest_edge":
        assert values.shape[2:] == preprocess.image_size
    elif preprocess.max_size:
        assert max(values.shape[2:]) <= preprocess.max_size
    assert np.isfinite(values).all()
    assert len(batch.frame_sizes) == len(batch.regions) == count
    assert Preprocess.from_dict(preprocess.to_dict()) == preprocess


@settings(max_examples=200, deadline=None)
@given(JUNK | RECORDS, HUGE, st.sampled_from([*PIXELS, "rgb", None]))
def test_any_record_and_any_shape(record: dict[str, Any], shape: list[int], pixels: Any) -> None:
    preprocess = or_one_line(lambda: Preprocess.from_dict(record))
    # A record alone may ask for batches of 8192 x 8192, which takes seconds.
    assume(preprocess is not None and max(np.max(preprocess.size), preprocess.crop or 0) <= 64)
    assume(math.prod(shape) <= 10**6 or 10**8 in shape)  # quick, or refused for its sides
    frame = np.broadcast_to(np.uint8(200), shape)
    batch = or_one_line(lambda: preprocess([frame], pixels=pixels))
    if batch is not None:
        assert max(batch.frame_sizes[0]) <= 1 << 16
        assert np.isfinite(batch.inputs["pixel_values"]).all()


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["int8", "uint16", "float32", "bool", "O", "S3", "V5", ">u2", "M8[s]"]),
    st.lists(st.integers(0, 4), max_size=4),
    st.sampled_from(PIXELS),
)
def test_any_dtype(dtype: str, shape: list[int], pixels: str) -> None:
    assert or_one_line(lambda: Preprocess(size=4)([np.zeros(shape, dtype)], pixels=pixels)) is None


@settings(max_examples=100, deadline=None)
@given(VALUES | st.lists(VALUES) | st.dictionaries(st.text(max_size=2), VALUES, max_size=2))
def test_anything_else_as_frames(frames: Any) -> None:
    assert or_one_line(lambda: Preprocess(size=4)(frames)) is None
