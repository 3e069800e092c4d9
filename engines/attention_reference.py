"""The two `vitrine` attention operators in NumPy: what kernels and engines are compared with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

# Swin's additive mask value.
_MASKED = -100.0


def fused_attention(
    query: NDArray[np.generic],
    key: NDArray[np.generic],
    value: NDArray[np.generic],
    bias: NDArray[np.generic] | None,
    scale: float,
) -> Float64:
    """softmax(scale q kᵀ + bias) v (Vaswani et al. 2017, equation 1), in float64.

    Args:
        query: (..., Nq, D), any real type, as are the others.
        key: (..., Nk, D).
        value: (..., Nk, Dv).
        bias: None, or broadcastable to (..., Nq, Nk).
        scale: factor of the scores, usually D ** -0.5.

    Returns:
        (..., Nq, Dv).
    """
    scores = scale * (_double(query) @ np.swapaxes(_double(key), -2, -1))
    if bias is not None:
        scores = scores + _double(bias)
    # Subtracting the row's maximum changes nothing but keeps exp finite.
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed: Float64 = (weights / weights.sum(axis=-1, keepdims=True)) @ _double(value)
    return mixed


def window_attention(
    qkv: NDArray[np.generic],
    bias: NDArray[np.generic],
    window: int,
    shift: int,
    heads: int,
    scale: float,
) -> Float64:
    """Shifted-window attention on a feature map (Liu et al. 2021, equation 4), in float64.

    The map is never rolled: window (i, j) of the rolled map holds the tokens whose rows are
    (i M + shift, ..., i M + shift + M - 1) modulo the height, and columns likewise. Two of them
    were neighbours before the roll unless one alone wrapped around an edge, which means that its
    row or column is less than `shift`.

    Args:
        qkv: (B, H, W, 3C): queries, keys, values; H and W multiples of `window`.
        bias: (heads, M², M²) with M = `window`.
        window: side of a window, in tokens.
        shift: cyclic shift in tokens, from 0 to `window` - 1.
        heads: attention heads; C is a multiple of it.
        scale: factor of the scores.

    Returns:
        (B, H, W, C).
    """
    batch, height, width, channels = qkv.shape
    rows = ((np.arange(height) + shift) % height).reshape(-1, 1, window, 1)
    columns = ((np.arange(width) + shift) % width).reshape(1, -1, 1, window)
    row, column = (a.reshape(-1, window**2) for a in np.broadcast_arrays(rows, columns))
    wrapped = 2 * (row < shift) + (column < shift)
    mask = np.where(wrapped[:, :, None] != wrapped[:, None, :], _MASKED, 0.0)

    tokens = qkv[:, row, column].reshape(batch, len(row), window**2, 3, heads, -1)
    query, key, value = tokens.transpose(3, 0, 1, 4, 2, 5)  # (B, windows, heads, M², D) each
    mixed = fused_attention(query, key, value, _double(bias) + mask[:, None], scale)
    output = np.empty((batch, height, width, channels // 3))
    output[:, row, column] = mixed.swapaxes(2, 3).reshape(batch, len(row), window**2, -1)
    return output


def _double(array: NDArray[np.generic]) -> Float64:
    return np.asarray(array, np.float64)
