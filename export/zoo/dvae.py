"""The discrete VAE of DALL·E (Ramesh et al. 2021, section 2.1 and appendix A): images as codes.

The encoder says of each cell of a grid which code of a codebook stands there; the decoder draws an
image of the codes. Both are residual networks of bottleneck blocks (appendix A.2), with the layers
of https://github.com/openai/DALL-E.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.zoo.dvae_config import DvaeConfig

_EDGE = 0.1  # "epsilon" of appendix A.3: images are kept that far from black and white
_COLOURS = 3


class _Block(nn.Module):
    """A bottleneck's residual: three 3 x 3 kernels and a 1 x 1, each after a ReLU.

    What it adds is divided by the square of the number of all blocks, so that a deep stack begins
    as nearly the identity.
    """

    def __init__(self, width: int, out: int, total: int, *, encodes: bool) -> None:
        """Args: total: blocks of the network; encodes: the 1 x 1 comes last, not first."""
        super().__init__()
        hidden = out // 4
        sizes, widths = (3, 3, 3, 1), (width, hidden, hidden, hidden, out)
        if not encodes:
            sizes = (1, 3, 3, 3)
        self.id_path = nn.Identity() if width == out else nn.Conv2d(width, out, 1)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, size, padding=size // 2)
            for before, after, size in zip(widths, widths[1:], sizes, strict=False)
        )
        self.gain = 1 / total**2

    def forward(self, image: Tensor) -> Tensor:
        """(B, width, h, w) -> (B, out, h, w)."""
        found = image
        for conv in self.convs:
            found = conv(functional.relu(found))
        added: Tensor = self.id_path(image) + self.gain * found
        return added


class Encoder(nn.Module):
    """Logits of codes."""

    def __init__(self, config: DvaeConfig) -> None:
        """Random weights, from torch's global seed."""
        super().__init__()
        widths, total = config.widths, config.groups * config.blocks
        self.first = nn.Conv2d(_COLOURS, widths[0], 7, padding=3)
        self.groups = nn.ModuleList(
            _group(before, after, config.blocks, total, encodes=True)
            for before, after in zip([widths[0], *widths], widths, strict=False)
        )
        self.last = nn.Conv2d(widths[-1], config.codes, 1)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, H, W) in 0..1 -> (B, codes, grid, grid)."""
        found = self.first(within(pixel_values))
        for number, group in enumerate(self.groups):
            found = group(functional.max_pool2d(found, 2) if number else found)
        logits: Tensor = self.last(functional.relu(found))
        return logits


class Decoder(nn.Module):
    """Images of codes."""

    def __init__(self, config: DvaeConfig) -> None:
        """Random weights, from torch's global seed."""
        super().__init__()
        widths, total = config.widths[::-1], config.groups * config.blocks
        # A 1 x 1 convolution of one-hot codes: an embedding, applied without the zeros.
        self.codebook = nn.Parameter(torch.randn(config.codes, config.initial))
        self.offset = nn.Parameter(torch.zeros(config.initial))
        self.groups = nn.ModuleList(
            _group(before, after, config.blocks, total, encodes=False)
            for before, after in zip([config.initial, *widths], widths, strict=False)
        )
        self.last = nn.Conv2d(widths[-1], _COLOURS * (2 if config.laplace else 1), 1)

    def forward(self, codes: Tensor) -> Tensor:
        """int64 (B, grid, grid) -> the image (B, 3, H, W), in 0..1 but for a little beyond."""
        return drawn(self.statistics((self.codebook[codes] + self.offset).permute(0, 3, 1, 2)))

    def mixed(self, shares: Tensor) -> Tensor:
        """As `statistics`, of codes that are mixed by (B, codes, grid, grid)."""
        cells = shares.permute(0, 2, 3, 1) @ self.codebook + self.offset
        return self.statistics(cells.permute(0, 3, 1, 2))

    def statistics(self, cells: Tensor) -> Tensor:
        """Cells (B, initial, grid, grid) -> what is said of each colour before the sigmoid."""
        for number, group in enumerate(self.groups):
            cells = functional.interpolate(cells, scale_factor=2.0) if number else cells
            cells = group(cells)
        found: Tensor = self.last(functional.relu(cells))
        return found


class Dvae(nn.Module):
    """Encoder and decoder."""

    def __init__(self, config: DvaeConfig) -> None:
        """Random weights, from torch's global seed."""
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)


def within(images: Tensor) -> Tensor:
    """0..1 as `_EDGE`..1 - `_EDGE` (appendix A.3)."""
    return images * (1 - 2 * _EDGE) + _EDGE


def drawn(statistics: Tensor) -> Tensor:
    """The image (B, 3, H, W) of what a decoder says (B, 3 or 6, H, W)."""
    return (statistics[:, :_COLOURS].sigmoid() - _EDGE) / (1 - 2 * _EDGE)


def _group(before: int, after: int, blocks: int, total: int, *, encodes: bool) -> nn.Sequential:
    widths = [before, *[after] * blocks]
    return nn.Sequential(
        *(_Block(*pair, total, encodes=encodes) for pair in itertools.pairwise(widths))
    )
