"""Patch embedding as what it is (Dosovitskiy et al. 2020, equation 1): a linear layer.

A convolution whose stride is its kernel reads every pixel once. As a MatMul it gets the int8
kernels of linears, and OpenVINO spares two changes of layout.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearPatches(nn.Module):
    """A linear layer on the pixels of each patch, in place of a convolution."""

    def __init__(self, conv: nn.Conv2d) -> None:
        """Takes over the weights of `conv`.

        Raises:
            ValueError: the convolution's patches overlap.
        """
        super().__init__()
        if conv.stride != conv.kernel_size:
            raise ValueError(
                f"patch embedding of stride {conv.stride} and kernel {conv.kernel_size}: expected "
                "patches side by side"
            )
        self.patch: tuple[int, ...] = tuple(conv.kernel_size)
        kernel = conv.weight.detach().flatten(1)
        self.projection = nn.Linear(kernel.shape[1], kernel.shape[0], conv.bias is not None)
        with torch.no_grad():
            self.projection.weight.copy_(kernel)
            if conv.bias is not None:
                self.projection.bias.copy_(conv.bias)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(B, C, H, W), H and W multiples of the patch -> (B, patches, width), row by row."""
        high, wide = self.patch
        batch, channels, height, width = pixel_values.shape
        grid = (height // high, width // wide)
        tiles = pixel_values.reshape(batch, channels, grid[0], high, grid[1], wide)
        patches = tiles.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        return self.projection(patches)  # type: ignore[no-any-return]
