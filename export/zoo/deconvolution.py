"""A deconvolution as an ordinary convolution, for which back ends have int8 kernels.

With a stride of 2 and a kernel of 4, output row 2m comes from the input rows m - 1 and m (taps 3
and 1), and row 2m + 1 from m and m + 1 (taps 2 and 0); columns likewise. So one 2 x 2 convolution
computes all four kinds of output wherever four inputs meet, and these are put in their places: the
sub-pixel convolution of Shi et al. 2016 (arXiv:1609.05158).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_TAPS = ([3, 1], [2, 0])  # of even and of odd outputs


class SubPixelDeconvolution(nn.Module):
    """(B, C, H, W) -> (B, D, 2H, 2W), as the `ConvTranspose2d` whose weights it takes over."""

    def __init__(self, deconvolution: nn.ConvTranspose2d) -> None:
        """Takes over the weights of `deconvolution`.

        Raises:
            ValueError: another kernel, stride or padding than 4, 2 and 1, or no bias.
        """
        super().__init__()
        shape = (deconvolution.kernel_size, deconvolution.stride, deconvolution.padding)
        bias = deconvolution.bias
        if shape != ((4, 4), (2, 2), (1, 1)) or bias is None:
            raise ValueError(
                f"deconvolution of kernel, stride and padding {shape}: expected 4, 2 and 1, and a "
                "bias"
            )
        inputs, outputs = deconvolution.in_channels, deconvolution.out_channels
        self.convolution = nn.Conv2d(inputs, 4 * outputs, 2, padding=1)
        with torch.no_grad():
            kernels = [
                deconvolution.weight[:, :, rows][:, :, :, columns].transpose(0, 1)
                for rows in _TAPS
                for columns in _TAPS
            ]
            self.convolution.weight.copy_(torch.cat(kernels))
            self.convolution.bias.copy_(bias.repeat(4))  # type: ignore[union-attr]

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        height, width = features.shape[2:]
        met = self.convolution(features)  # (B, 4D, H + 1, W + 1)
        places = [(row, column) for row in range(2) for column in range(2)]
        placed = [
            kind[:, :, row : row + height, column : column + width]
            for kind, (row, column) in zip(met.chunk(4, dim=1), places, strict=True)
        ]
        kinds: Tensor = torch.cat(placed, dim=1).unflatten(1, (2, 2, -1))  # type: ignore[no-untyped-call]
        return kinds.permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)  # (B, D, H, 2, W, 2)
