"""What a token of DALL·E sees (Ramesh et al. 2021, section 2.2, appendix B.1 and figure 11).

A text token sees the text before it. An image token sees all of the text and, of the image, as its
layer has it: the last row's worth of tokens, its column, or a square around it; always only what
comes before it in raster order, and itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from export.attention import HIDDEN

ROW, COLUMN, SQUARE = 0, 1, 2


def kinds(layers: int) -> list[int]:
    """Of each layer: row, column, row, row, and so on; a square in the last."""
    return [
        SQUARE if layer == layers else COLUMN if layer % 4 == 2 else ROW
        for layer in range(1, layers + 1)
    ]


def sparse_biases(text: int, grid: int, kernel: int) -> Tensor:
    """Additive biases (3, N, N) of scores, in the order `ROW`, `COLUMN`, `SQUARE`.

    N = `text` + `grid`² - 1, as the last image token is never an input.

    Args:
        text: tokens of a text.
        grid: tokens of a row, and of a column, of the image.
        kernel: side of the square, odd. Like the row it does not end at the edges: what would be
            left of the first column is the end of the row above.
    """
    places = torch.arange(text + grid**2 - 1)
    query, key = places[:, None], places[None, :]
    back = query - key  # how many tokens ago
    half = kernel // 2
    # Rows up, and columns to the left (negative to the right), that lead `back` tokens back.
    up = torch.div(back + half, grid, rounding_mode="floor").clamp(min=0)
    aside = back - up * grid
    square = (up <= half) & (aside <= half)
    seen = torch.stack([back <= grid, back % grid == 0, square])
    of_text = (key < text).expand_as(back)
    return torch.where((seen | of_text) & (back >= 0), 0.0, HIDDEN)
