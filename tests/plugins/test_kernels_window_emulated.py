"""The window kernels' own sources, run on the host, against the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest

from engines.attention_reference import window_attention
from tests.plugins.cases import Array, normal, steps, tolerance
from tests.plugins.guarded import Guarded
from tests.plugins.launch import FLOAT, HALF, INT8, Kernels, WindowAttention

TYPES = {"float32": FLOAT, "float16": HALF, "int8": INT8}
QKV_SCALE, OUTPUT_SCALE = 3 / 128, 1.5 / 128
AMPLE, SCARCE = 220 * 1024, 46 * 1024  # shared memory of a block, in bytes


def launched(kernels: Kernels, qkv: Array, bias: Array, window: int, shift: int) -> Array:
    batch, height, width, channels = qkv.shape
    heads = len(bias)
    is_int8 = qkv.dtype == np.int8
    inputs = Guarded(qkv), Guarded(bias)
    output = Guarded(np.empty((batch, height, width, channels // 3), qkv.dtype), written=False)
    problem = WindowAttention(
        *(a.address for a in inputs), output.address,
        batch, height, width, heads, channels // 3 // heads, window, shift,
        (channels // 3 // heads) ** -0.5,
        QKV_SCALE if is_int8 else 1, OUTPUT_SCALE if is_int8 else 1,
        TYPES[str(qkv.dtype)], TYPES[str(bias.dtype)],
    )  # fmt: skip
    assert kernels.window(problem) == 0
    output.check()
    return output.array


def check(
    kernels: Kernels, dtype: str, window: int, shift: int, size: int, *,
    grid: tuple[int, int] = (2, 3), batch: int = 1, heads: int = 2, bias_dtype: str | None = None,
) -> None:  # fmt: skip
    shape = (batch, grid[0] * window, grid[1] * window, 3 * heads * size)
    qkv = steps(0, shape) if dtype == "int8" else normal(0, shape, dtype)
    bias = normal(1, (heads, window**2, window**2), bias_dtype or dtype)
    found = launched(kernels, qkv, bias, window, shift).astype(np.float64)
    real = qkv * np.float64(QKV_SCALE if dtype == "int8" else 1)
    expected = window_attention(real, bias, window, shift, heads, size**-0.5)
    allowed = tolerance("float16" if dtype == "int8" else dtype, real, window**2)
    if dtype == "int8":
        found, expected = found * OUTPUT_SCALE, np.clip(
            expected, -128 * OUTPUT_SCALE, 127 * OUTPUT_SCALE
        )  # fmt: skip
        # Half a step is rounding. A float32 bias becomes float16: 2**-11 of at most 4.
        allowed += OUTPUT_SCALE / 2 + np.abs(real).max() * 4 * 2**-11
    np.testing.assert_allclose(found, expected, rtol=0, atol=allowed)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("window", range(4, 13))
def test_every_window_with_and_without_shift(emulated: Kernels, window: int, dtype: str) -> None:
    emulated.library.emulate_device(2, AMPLE)
    for shift in (0, window // 2):
        check(emulated, dtype, window, shift, 32)


@pytest.mark.parametrize("shift", range(7))
def test_every_shift(emulated: Kernels, shift: int) -> None:
    emulated.library.emulate_device(2, AMPLE)
    check(emulated, "float16", 7, shift, 16)
    check(emulated, "float32", 7, shift, 16)


@pytest.mark.parametrize("shared", [AMPLE, SCARCE], ids=["220 KiB", "46 KiB"])
@pytest.mark.parametrize("dtype", ["float16", "int8"])
@pytest.mark.parametrize("size", [16, 24, 32, 48, 64, 96, 128])
def test_every_head_size(emulated: Kernels, size: int, dtype: str, shared: int) -> None:
    """Scarce shared memory holds one buffer of the narrow heads, and none of the wide ones."""
    emulated.library.emulate_device(1, shared)
    check(emulated, dtype, 8, 4, size, bias_dtype="float16", grid=(2, 2))


@pytest.mark.parametrize("bias_dtype", ["float16", "float32"])
@pytest.mark.parametrize("window", [7, 12])
def test_int8_with_either_bias(emulated: Kernels, window: int, bias_dtype: str) -> None:
    emulated.library.emulate_device(2, AMPLE)
    check(emulated, "int8", window, window // 2, 32, bias_dtype=bias_dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
@pytest.mark.parametrize("size", [20, 33], ids=lambda n: f"head size {n}")
def test_heads_that_are_no_multiple_of_eight(emulated: Kernels, size: int, dtype: str) -> None:
    check(emulated, dtype, 4, 2, size, bias_dtype="float32" if dtype == "int8" else None)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
@pytest.mark.parametrize("grid", [(1, 1), (1, 4), (3, 1)], ids=lambda g: f"{g[0]}x{g[1]} windows")
def test_odd_batches_and_maps_of_few_windows(
    emulated: Kernels, grid: tuple[int, int], dtype: str
) -> None:
    """One processor: each block walks over several windows, across images."""
    emulated.library.emulate_device(1, AMPLE)
    bias_dtype = "float16" if dtype == "int8" else None
    check(emulated, dtype, 7, 3, 32, grid=grid, batch=3, bias_dtype=bias_dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("size", [24, 32], ids=lambda n: f"head size {n}")
def test_nan_in_one_image_stays_there(emulated: Kernels, size: int, dtype: str) -> None:
    """One block computes all images in turn, in the same shared memory."""
    emulated.library.emulate_device(1, AMPLE)
    qkv, bias = normal(0, (5, 4, 4, 3 * size), dtype), normal(1, (1, 16, 16), dtype)
    qkv[0] = np.nan
    found = launched(emulated, qkv, bias, 4, 2)
    assert np.isnan(found[0]).all()
    expected = window_attention(qkv[1:], bias, 4, 2, 1, size**-0.5)
    atol = tolerance(dtype, qkv[1:], 16)
    np.testing.assert_allclose(found[1:], expected, rtol=0, atol=atol)


def test_int8_saturates(emulated: Kernels) -> None:
    qkv = np.full((1, 4, 4, 48), 127, np.int8)
    qkv[..., 40:] = -128
    found = launched(emulated, qkv, np.zeros((1, 16, 16), np.float16), 4, 0)
    # Every value is the same, so the output is it: 127 * 3 / 1.5 steps is out of range.
    assert (found[..., :8] == 127).all()
    assert (found[..., 8:] == -128).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": 13}, {"window": 0}, {"shift": 4}, {"shift": -1}, {"height": 9}, {"size": 129},
        {"heads": 0}, {"bias_type": FLOAT}, {"type": INT8, "bias_type": INT8}, {"qkv_scale": 0.0},
        {"batch": 2**11, "height": 2**10, "width": 2**10},
    ],
    ids=lambda wrong: " ".join(f"{name}={value}" for name, value in wrong.items()),
)  # fmt: skip
def test_what_is_not_allowed_is_refused(emulated: Kernels, wrong: dict[str, float]) -> None:
    fields = {
        "batch": 1, "height": 8, "width": 8, "heads": 1, "size": 16, "window": 4, "shift": 2,
        "scale": 0.25, "qkv_scale": 1.0, "output_scale": 1.0, "type": HALF, "bias_type": HALF,
    }  # fmt: skip
    invalid_value = 1  # cudaErrorInvalidValue
    assert emulated.window(WindowAttention(**{**fields, **wrong})) == invalid_value
