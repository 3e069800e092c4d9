"""Feature pyramid network (Lin et al. 2017, arXiv:1612.03144)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


class FeaturePyramid(nn.Module):
    """The maps of a backbone's stages, each with what the coarser ones know, in one width."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        """Of stages with these channels, each half as large as the one before it."""
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(inside, width, 1) for inside in channels)
        self.outputs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """(B, channels, H, W) of each stage, the finest first, to (B, width, H, W) (section 3)."""
        merged = [lateral(each) for lateral, each in zip(self.laterals, maps, strict=True)]
        for level in reversed(range(len(merged) - 1)):
            above = functional.interpolate(merged[level + 1], scale_factor=2.0, mode="nearest")
            merged[level] = merged[level] + above
        return [output(each) for output, each in zip(self.outputs, merged, strict=True)]
