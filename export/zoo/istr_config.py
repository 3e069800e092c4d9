"""The sizes of a member of the ISTR family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class IstrConfig:
    """One member; without arguments ISTR with a ResNet-50, as published.

    Attributes:
        image_size: height and width in pixels, multiples of the last stage's stride.
        num_labels: classes.
        num_queries: boxes that are refined, the most instances of an image.
        stages: of refinement.
        width: of a query and of the pyramid's maps.
        heads: of the attention among queries.
        feedforward: hidden width of a stage's MLP.
        dynamic_width: inner channels of the dynamic convolution.
        head_layers: hidden layers of a stage's heads for class, box and mask.
        pool_size: bins on a side of a box.
        pool_samples: samples on a side of a bin.
        canonical_size: pixels on a side of a box that sees the pyramid's third level.
        mask_side: pixels on a side of a mask.
        mask_size: numbers in a mask's embedding.
        layer_type: "bottleneck" or "basic", of the ResNet.
        embedding_size: channels of its first convolution.
        hidden_sizes: channels of its stages, all of which the pyramid reads.
        depths: blocks of its stages.

    Raises:
        ValueError: heads that do not divide the width, an image that the backbone's strides do not
            divide, or depths and hidden_sizes of unlike length.
    """

    image_size: Sequence[int] = (800, 1344)
    num_labels: int = 80
    num_queries: int = 300
    stages: int = 6
    width: int = 256
    heads: int = 8
    feedforward: int = 2048
    dynamic_width: int = 64
    head_layers: int = 3
    pool_size: int = 7
    pool_samples: int = 2
    canonical_size: int = 224
    mask_side: int = 28
    mask_size: int = 60
    layer_type: str = "bottleneck"
    embedding_size: int = 64
    hidden_sizes: Sequence[int] = (256, 512, 1024, 2048)
    depths: Sequence[int] = (3, 4, 6, 3)

    def __post_init__(self) -> None:
        """Check what would otherwise fail far from here."""
        if self.width % self.heads:
            raise ValueError(f"config.width {self.width} is not a multiple of heads {self.heads}")
        depths, widths = len(self.depths), len(self.hidden_sizes)
        if depths != widths:
            raise ValueError(
                f"config.depths has {depths} stages, hidden_sizes {widths}; give one each for "
                "every stage of the backbone"
            )
        stride = 4 * 2 ** (len(self.depths) - 1)
        if any(side % stride for side in self.image_size):
            raise ValueError(
                f"config.image_size {list(self.image_size)} is not of multiples of {stride}, the "
                "stride of the backbone's last stage"
            )
