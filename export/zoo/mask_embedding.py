"""Masks as few numbers: ISTR's mask embeddings (Hu et al. 2021, arXiv:2105.00637).

A mask of a set size becomes what the inverse of the sigmoid makes of it; of that the principal
components of a training set's masks are kept, divided by their standard deviations.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# The inverse sigmoid of 0 and 1 is infinite. The authors draw these margins from 0.01 to 0.05.
_MARGIN = 0.03


class MaskEmbedding(nn.Module):
    """An encoder and a decoder, which no gradient changes: `fit` makes them of random ones."""

    def __init__(self, side: int, size: int) -> None:
        """Pixels on a side of a mask, and numbers in an embedding."""
        super().__init__()
        self.side = side
        self.mean = nn.Parameter(torch.zeros(side**2), requires_grad=False)
        components = torch.randn(size, side**2) / side  # of length 1, as far as chance goes
        self.components = nn.Parameter(components, requires_grad=False)
        self.variances = nn.Parameter(torch.ones(size), requires_grad=False)

    @torch.no_grad()
    def fit(self, masks: Tensor) -> None:
        """Takes the principal components of masks (N, side, side) of zeros and ones, in place."""
        values = _inverse_sigmoid(masks.flatten(1))
        self.mean.copy_(values.mean(0))
        values = values - self.mean
        variances, vectors = torch.linalg.eigh(values.T @ values / (len(values) - 1))
        size = len(self.variances)
        self.variances.copy_(variances.flip(0)[:size])
        self.components.copy_(vectors.T.flip(0)[:size])

    def encode(self, masks: Tensor) -> Tensor:
        """Masks (..., side, side) of zeros and ones to embeddings (..., size)."""
        values = _inverse_sigmoid(masks.flatten(-2)) - self.mean
        return values @ self.components.T * self.variances.rsqrt()

    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings (..., size) to logits (..., side, side) of their masks."""
        logits = embeddings * self.variances.sqrt() @ self.components + self.mean
        return logits.reshape(*logits.shape[:-1], self.side, self.side)

    def as_linear(self) -> nn.Sequential:
        """The decoder as what it is, a linear layer."""
        linear = nn.Linear(len(self.variances), self.side**2)
        linear.weight = nn.Parameter((self.components * self.variances.sqrt()[:, None]).T)
        linear.bias = self.mean
        return nn.Sequential(linear, nn.Unflatten(-1, (self.side, self.side)))


def _inverse_sigmoid(masks: Tensor) -> Tensor:
    return masks.float().clamp(_MARGIN, 1 - _MARGIN).logit()
