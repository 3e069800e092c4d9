"""Patches as a linear layer against the convolution that they stand for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from export.zoo.patches import LinearPatches


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize(
    ("patch", "image"), [((2, 2), (8, 8)), ((2, 3), (8, 12))], ids=["square", "oblong"]
)
def test_they_equal_the_convolution(
    patch: tuple[int, int], image: tuple[int, int], bias: bool
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 5, patch, patch, bias=bias)
    pixels = torch.randn(2, 3, *image)
    expected = conv(pixels).flatten(2).transpose(1, 2)
    # Sums of 18 products of order 1 in another order: units in the last place.
    torch.testing.assert_close(LinearPatches(conv)(pixels), expected, atol=1e-5, rtol=0)


def test_patches_that_overlap_are_refused() -> None:
    with pytest.raises(ValueError, match="patches side by side"):
        LinearPatches(nn.Conv2d(3, 5, 3, 2, 1))
