"""The NumPy reference against PyTorch's operators, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engines import attention_reference as reference
from export.attention import fused_attention, window_attention

# Both compute in float64 and differ in the order of sums of at most some thousand terms.
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "bias_shape",
    [None, (3, 2, 5, 7), (1, 2, 1, 7), (3, 1, 5, 1)],
    ids=lambda shape: f"bias {shape}",
)
@pytest.mark.parametrize("size", [16, 40])
def test_fused_attention(size: int, bias_shape: tuple[int, ...] | None) -> None:
    query, key, value = numbers(3, 2, 5, size), numbers(3, 2, 7, size), numbers(3, 2, 7, 24)
    bias = None if bias_shape is None else numbers(*bias_shape)
    expected = fused_attention(query, key, value, bias, size**-0.5)
    found = reference.fused_attention(
        *(t.numpy() for t in (query, key, value)), None if bias is None else bias.numpy(),
        size**-0.5,
    )  # fmt: skip
    np.testing.assert_allclose(found, expected.numpy(), **CLOSE)


def test_fused_attention_of_scores_that_overflow_exp() -> None:
    query, value = 40 * numbers(1, 1, 6, 16), numbers(1, 1, 6, 16)
    expected = fused_attention(query, query, value, None, 1.0)
    found = reference.fused_attention(query.numpy(), query.numpy(), value.numpy(), None, 1.0)
    np.testing.assert_allclose(found, expected.numpy(), **CLOSE)


@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (3, 1)], ids=lambda g: f"{g[0]}x{g[1]} windows")
@pytest.mark.parametrize(
    ("window", "shift"), [(4, 0), (4, 2), (7, 3), (7, 6), (12, 1)], ids=lambda n: str(n)
)
def test_window_attention(window: int, shift: int, grid: tuple[int, int]) -> None:
    heads, size = 2, 8
    qkv = numbers(2, grid[0] * window, grid[1] * window, 3 * heads * size)
    bias = numbers(heads, window**2, window**2)
    expected = window_attention(qkv, bias, window, shift, heads, 0.3)
    found = reference.window_attention(qkv.numpy(), bias.numpy(), window, shift, heads, 0.3)
    np.testing.assert_allclose(found, expected.numpy(), **CLOSE)
