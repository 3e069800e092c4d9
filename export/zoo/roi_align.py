"""RoIAlign (He et al. 2017, arXiv:1703.06870, section 3) on a feature pyramid.

A box is cut into `size` x `size` bins; each is the mean of `samples` x `samples` bilinear samples
at even places in it. The centre of cell i lies at i + 0.5, as `aligned=True` has it in other
libraries and `half_pixel` in ONNX. A sample outside the map is taken from its border; one that is
more than a cell from the centres of the border's cells is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Size = tuple[int, int]


class PyramidRoIAlign(nn.Module):
    """Features of each box from the level of a pyramid that suits its size."""

    def __init__(self, size: int, samples: int, canonical: int) -> None:
        """Bins on a side of a box, samples on a side of a bin.

        Boxes of `canonical` x `canonical` pixels see the third level, those of half that side the
        second (Lin et al. 2017, arXiv:1612.03144, equation 1).
        """
        super().__init__()
        self.size, self.samples, self.canonical = size, samples, canonical

    def forward(self, maps: Sequence[Tensor], boxes: Tensor, image: Size) -> Tensor:
        """The features of boxes.

        Args:
            maps: (B, C, H, W) of each level, the finest first.
            boxes: corners (B, Q, 4) in 0..1 of the image.
            image: its height and width in pixels.

        Returns:
            (B * Q, size * size, C), bins row by row.
        """
        level = torch.zeros(boxes.shape[:2], dtype=torch.long, device=boxes.device)
        for least in self._least_areas(len(maps), image):
            level = level + (_areas(boxes) >= least)
        sides = torch.tensor([each.shape[:-3:-1] for each in maps], device=boxes.device)
        columns, across = self._taps(boxes[..., 0::2], sides[level, 0])
        rows, down = self._taps(boxes[..., 1::2], sides[level, 1])
        cells = sides.prod(1)
        first = (cells.cumsum(0) - cells)[level]  # the level's, in the table of all cells
        first = first + int(cells.sum()) * torch.arange(len(boxes), device=boxes.device)[:, None]
        table = torch.cat([each.flatten(2) for each in maps], dim=2).transpose(1, 2).flatten(0, 1)
        place = first[..., None, None] + rows * sides[level, 0, None, None]
        place = place[:, :, :, None, :, None] + columns[:, :, None, :, None, :]
        weight = down[:, :, :, None, :, None] * across[:, :, None, :, None, :]
        # Each bin is a weighted sum of cells.
        found = functional.embedding_bag(
            place.reshape(-1, (2 * self.samples) ** 2), table, mode="sum",
            per_sample_weights=weight.reshape(-1, (2 * self.samples) ** 2).to(table.dtype),
        )  # fmt: skip
        return found.reshape(-1, self.size**2, found.shape[-1])

    def _taps(self, edges: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
        """Cells along one axis that each bin is made of, and their weights.

        Args:
            edges: (B, Q, 2), both of each box in 0..1.
            side: (B, Q), of the map in cells.

        Returns:
            (B, Q, size, 2 * samples), whole numbers and shares.
        """
        count = self.size * self.samples
        steps = (torch.arange(count, device=edges.device) + 0.5) / count
        side = side[..., None]
        place = (edges[..., :1] + (edges[..., 1:] - edges[..., :1]) * steps) * side - 0.5
        inside = (place >= -1) & (place <= side)
        place = torch.minimum(place.clamp(min=0), side - 1)
        low = place.floor()
        high = torch.minimum(low + 1, side - 1)
        shares = torch.stack([1 - (place - low), place - low], dim=-1)
        shares = shares * inside[..., None] / self.samples
        taps = torch.stack([low, high], dim=-1).long()
        form = (*edges.shape[:2], self.size, 2 * self.samples)
        return taps.reshape(form), shares.reshape(form)

    def _least_areas(self, levels: int, image: Size) -> list[float]:
        """Of boxes that see the second level, the third ..., as shares of the image.

        Shares, unlike pixels, are in float16's range.
        """
        sides = (self.canonical * 2.0 ** (level - 2) for level in range(1, levels))
        return [side**2 / (image[0] * image[1]) for side in sides]


class _OnnxRoIAlign(PyramidRoIAlign):
    """The same with ONNX's operator at every level, for an export only."""

    def forward(self, maps: Sequence[Tensor], boxes: Tensor, image: Size) -> Tensor:
        area = _areas(boxes).flatten()[:, None, None, None]
        corners = boxes.flatten(0, 1)
        images = torch.arange(boxes.shape[0], device=boxes.device)
        images = images[:, None].expand(-1, boxes.shape[1]).flatten()
        found = self._align(maps[0], corners, images)
        for each, least in zip(maps[1:], self._least_areas(len(maps), image), strict=True):
            found = torch.where(area >= least, self._align(each, corners, images), found)
        return found.flatten(2).transpose(1, 2)

    def _align(self, features: Tensor, corners: Tensor, images: Tensor) -> Tensor:
        """(B, C, H, W), (N, 4) in 0..1 and (N,), whose image each is -> (N, C, size, size)."""
        height, width = features.shape[2:]
        attributes: dict[str, Any] = {
            "coordinate_transformation_mode": "half_pixel",
            "mode": "avg",
            "output_height": self.size,
            "output_width": self.size,
            "sampling_ratio": self.samples,
            "spatial_scale": 1.0,
        }
        cells = corners * corners.new_tensor([width, height, width, height])
        shape = (corners.shape[0], features.shape[1], self.size, self.size)
        found: Tensor = torch.onnx.ops.symbolic(
            "RoiAlign", (features, cells, images), attributes,
            dtype=features.dtype, shape=shape, version=16,
        )  # fmt: skip
        return found


def use_onnx_roi_align(model: nn.Module) -> None:
    """Makes every `PyramidRoIAlign` within a module ONNX's RoiAlign (opset 16), in place."""
    for name, child in model.named_children():
        if isinstance(child, PyramidRoIAlign):
            setattr(model, name, _OnnxRoIAlign(child.size, child.samples, child.canonical))
        else:
            use_onnx_roi_align(child)


def _areas(boxes: Tensor) -> Tensor:
    """Corners (B, Q, 4) to areas (B, Q)."""
    return (boxes[..., 2:] - boxes[..., :2]).prod(-1)
