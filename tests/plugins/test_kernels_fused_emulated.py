"""The fused kernels' own sources, run on the host, against the float64 reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engines.attention_reference import fused_attention
from tests.plugins.cases import Array, normal, tolerance
from tests.plugins.guarded import Guarded
from tests.plugins.launch import FLOAT, HALF, FusedAttention, Kernels, bias_strides

MANY, FEW = 1000, 1  # processors: with many, blocks are small, so that each has work


def launched(
    kernels: Kernels, query: Array, key: Array, value: Array, bias: Array | None, scale: float
) -> Array:
    inputs = [Guarded(a) for a in (query, key, value)]
    added = None if bias is None else Guarded(bias)
    output = Guarded(np.empty((*query.shape[:3], value.shape[3]), query.dtype), written=False)
    problem = FusedAttention(
        *(a.address for a in inputs), added and added.address, output.address,
        (0,) * 4 if bias is None else bias_strides(bias.shape),
        *query.shape[:3], key.shape[2], query.shape[3], value.shape[3],
        scale, HALF if query.dtype == np.float16 else FLOAT,
    )  # fmt: skip
    assert kernels.fused(problem) == 0
    output.check()
    return output.array


def check(
    kernels: Kernels, dtype: str, shape: tuple[int, int, int, int], size: int, value_size: int,
    bias_shape: tuple[int, ...] | None = None,
) -> None:  # fmt: skip
    batch, heads, queries, keys = shape
    query = normal(0, (batch, heads, queries, size), dtype)
    key = normal(1, (batch, heads, keys, size), dtype)
    value = normal(2, (batch, heads, keys, value_size), dtype)
    bias = None if bias_shape is None else normal(3, bias_shape, dtype)
    scale = size**-0.5
    found = launched(kernels, query, key, value, bias, scale)
    expected = fused_attention(query, key, value, bias, scale)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance(dtype, value, keys))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("size", [16, 24, 32, 40, 64, 72, 80, 88, 96, 112, 128])
def test_every_head_size(emulated: Kernels, size: int, dtype: str) -> None:
    check(emulated, dtype, (1, 2, 37, 50), size, size)


@pytest.mark.parametrize("processors", [FEW, MANY], ids=["large blocks", "small blocks"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(
    ("queries", "keys"),
    [(1, 1), (1, 4096), (15, 17), (16, 16), (63, 65), (64, 64), (129, 31), (197, 197)],
    ids=lambda n: str(n),
)
def test_sequences(emulated: Kernels, queries: int, keys: int, dtype: str, processors: int) -> None:
    emulated.library.emulate_device(processors, 96 * 1024)
    check(emulated, dtype, (1, 3, queries, keys), 32, 32)
    check(emulated, dtype, (1, 1, queries, keys), 64, 64)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(
    "bias_shape",
    [(3, 2, 20, 70), (1, 2, 20, 70), (3, 1, 1, 70), (1, 1, 20, 1), (1, 1, 1, 1)],
    ids=lambda s: "x".join(map(str, s)),
)
def test_a_bias_is_broadcast(emulated: Kernels, bias_shape: tuple[int, ...], dtype: str) -> None:
    check(emulated, dtype, (3, 2, 20, 70), 32, 32, bias_shape)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(
    ("size", "value_size"), [(16, 64), (64, 16), (20, 20), (7, 33), (1, 1)], ids=lambda n: str(n)
)
def test_values_may_be_wider_and_sizes_odd(
    emulated: Kernels, size: int, value_size: int, dtype: str
) -> None:
    check(emulated, dtype, (3, 1, 40, 33), size, value_size)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_masked_keys_do_not_count(emulated: Kernels, dtype: str) -> None:
    """Also where a whole first tile is masked: its maximum is -inf."""
    query, key, value = (normal(seed, (1, 1, 20, 32), dtype) for seed in range(3))
    key, value = np.tile(key, (1, 1, 5, 1)), np.tile(value, (1, 1, 5, 1))
    bias = np.zeros((1, 1, 1, 100), dtype)
    bias[..., :70] = -np.inf
    found = launched(emulated, query, key, value, bias, 1.0)
    expected = fused_attention(query, key[:, :, 70:], value[:, :, 70:], None, 1.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance(dtype, value, 100))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_masks_of_the_lowest_float16(emulated: Kernels, dtype: str) -> None:
    """-65504 masks as -inf does; where it masks every key, softmax takes no notice of it."""
    query, key, value = (normal(seed, (1, 1, 20, 32), dtype) for seed in range(3))
    bias = np.zeros((1, 1, 20, 20), dtype)
    bias[..., :10, :17] = bias[..., 10:, :] = -65504
    found = launched(emulated, query, key, value, bias, 0.1)
    expected = fused_attention(query, key, value, bias, 0.1)
    # Scores of -65504 are rounded to 2**-8; half of it is the relative error of a weight.
    atol = tolerance(dtype, value, 20) + 2**-9 * np.abs(value).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_row_without_keys_is_nan_and_harms_no_other(emulated: Kernels, dtype: str) -> None:
    query, key, value = (normal(seed, (1, 1, 20, 32), dtype) for seed in range(3))
    bias = np.zeros((1, 1, 20, 1), dtype)
    bias[0, 0, 7] = -np.inf
    found = launched(emulated, query, key, value, bias, 0.2)
    assert np.isnan(found[0, 0, 7]).all()
    rest = np.arange(20) != 7
    expected = fused_attention(query, key, value, None, 0.2)[:, :, rest]
    atol = tolerance(dtype, value, 20)
    np.testing.assert_allclose(found[:, :, rest], expected, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("scale", [0.0, -0.2], ids=["zero", "negative"])
def test_scales_that_are_not_positive(emulated: Kernels, scale: float, dtype: str) -> None:
    """With a negative one the smallest product is the largest score."""
    query, key, value = (normal(seed, (1, 1, 50, 32), dtype) for seed in range(3))
    found = launched(emulated, query, key, value, None, scale)
    expected = fused_attention(query, key, value, None, scale)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance(dtype, value, 50))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_large_scores_stay_finite(emulated: Kernels, dtype: str) -> None:
    """Scores of several hundred overflow exp; one key then takes all the weight."""
    query = 20 * normal(0, (1, 1, 32, 64), dtype)
    key, value = query[:, :, ::-1].copy(), normal(1, (1, 1, 32, 64), dtype)
    found = launched(emulated, query, key, value, None, 1.0)
    # The largest score of a row is its own square, thousands above any other.
    expected = value[:, :, ::-1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance(dtype, value, 32))


def test_an_unaligned_tensor_takes_the_path_that_needs_no_alignment(emulated: Kernels) -> None:
    raw = normal(0, (1 + 3 * 40 * 16,), "float16")[1:].reshape(3, 1, 1, 40, 16)
    query, key, value = raw
    output = np.empty((1, 1, 40, 16), np.float16)
    problem = FusedAttention(
        *(a.ctypes.data for a in (query, key, value)), None, output.ctypes.data, (0,) * 4,
        1, 1, 40, 40, 16, 16, 0.25, HALF,
    )  # fmt: skip
    assert query.ctypes.data % 16 != 0
    assert emulated.fused(problem) == 0
    expected = fused_attention(query, key, value, None, 0.25)
    np.testing.assert_allclose(output, expected, rtol=0, atol=tolerance("float16", value, 40))


@pytest.mark.parametrize(
    "wrong",
    [
        {"keys": 0}, {"size": 0}, {"size": 129}, {"value_size": 129}, {"queries": -1}, {"type": 2},
        {"bias_stride": (0, 0, 0, 2)},
    ],
    ids=lambda wrong: " ".join(f"{name}={value}" for name, value in wrong.items()),
)  # fmt: skip
def test_what_is_not_allowed_is_refused(emulated: Kernels, wrong: dict[str, Any]) -> None:
    fields = {"batch": 1, "heads": 1, "queries": 1, "keys": 1, "size": 16, "value_size": 16}
    invalid_value = 1  # cudaErrorInvalidValue
    assert emulated.fused(FusedAttention(**{**fields, "type": HALF, **wrong})) == invalid_value


def test_an_empty_batch_is_no_work(emulated: Kernels) -> None:
    fields = {"batch": 0, "heads": 1, "queries": 1, "keys": 1, "size": 16, "value_size": 16}
    assert emulated.fused(FusedAttention(**fields, type=HALF)) == 0
