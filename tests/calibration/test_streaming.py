"""Images go through one at a time: nothing depends on batching or grows with their number."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from calibration.activations import stream
from calibration.histogram import Histogram
from calibration.ranges import ChannelStatistics, observe
from tests.calibration.float_graphs import HEADER, images, mlp, model_from_text

SHAPE = (5, 16)


def observed(batches: object) -> tuple[Histogram, ChannelStatistics]:
    histogram, channels = Histogram(), ChannelStatistics()
    observe(mlp(), {"active": [histogram, channels]}, batches, threads=1)  # type: ignore[arg-type]
    return histogram, channels


def test_ranges_are_bitwise_independent_of_batch_size_and_order() -> None:
    singles = images(12, *SHAPE)
    batched = [
        {"x": np.concatenate([image["x"] for image in singles[i : i + 5]])} for i in (0, 5, 10)
    ]
    results = [observed(batches) for batches in (singles, batched, singles[::-1])]
    for histogram, channels in results[1:]:
        assert np.array_equal(histogram.counts, results[0][0].counts)
        assert np.array_equal(channels.low, results[0][1].low)
        assert np.array_equal(channels.high, results[0][1].high)
        assert np.array_equal(channels.mean, results[0][1].mean)


def test_statistics_equal_numpy_over_everything_at_once() -> None:
    singles = images(6, *SHAPE)
    values = np.concatenate([t["active"] for t in stream(mlp(), ["active"], singles, 1)])
    rows = values.reshape(-1, values.shape[-1])
    _, channels = observed(singles)
    assert np.array_equal(channels.low, rows.min(axis=0))
    assert np.array_equal(channels.high, rows.max(axis=0))
    # Fixed point with 24 fractional bits a sum of 5 rows: 2**-25 / 5 at most.
    assert np.allclose(channels.mean, rows.mean(axis=0, dtype=np.float64), rtol=0, atol=1e-8)


def test_memory_does_not_grow_with_the_number_of_images() -> None:
    def peak(count: int) -> int:
        def lazily() -> Iterator[dict[str, np.ndarray]]:
            random = np.random.default_rng(0)
            for _ in range(count):
                yield {"x": random.normal(size=(1, 4000, 16)).astype(np.float32)}

        text = HEADER + "g (float[batch, n, 16] x) => (float[batch, n, 16] y) { y = Gelu(x) }"
        observers = [Histogram(), ChannelStatistics()]
        tracemalloc.start()
        observe(model_from_text(text), {"y": observers}, lazily, threads=1)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(2)
    # The row sample is full after 32 images: 16 rows of 64 bytes each, 33 kB in all. One image's
    # output alone is 256 kB, so holding on to images would show.
    assert peak(64) - peak(4) < 100_000


def test_the_row_sample_is_bounded_and_deterministic() -> None:
    channels = ChannelStatistics()
    for i in range(80):
        channels.add(np.full((1, 100, 3), i, np.float32))
    assert channels.sample.shape == (32 * 16, 3)
    assert channels.sample.max() == 31.0


def test_refusals() -> None:
    singles = images(1, *SHAPE)
    with pytest.raises(ValueError, match="no calibration images"):
        list(stream(mlp(), ["active"], []))
    with pytest.raises(ValueError, match="no tensor 'missing'"):
        list(stream(mlp(), ["missing"], singles))
    with pytest.raises(TypeError, match="an iterator, which can be read once"):
        list(stream(mlp(), ["active"], iter(singles)))
    broken = [{"x": np.full((1, *SHAPE), np.nan, np.float32)}]
    with pytest.raises(ValueError, match=r"tensor 'active' .* a NaN on image 1"):
        observed(broken)
