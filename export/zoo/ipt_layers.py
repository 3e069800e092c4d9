"""The layers of IPT's transformer."""

from __future__ import annotations

from torch import Tensor, nn

from export.zoo.mixing import Mix


class Attention(nn.Module):
    """Multi-head attention without biases (Vaswani et al. 2017, section 3.2.2)."""

    def __init__(self, width: int, heads: int) -> None:
        """Args: width: of a token, a multiple of `heads`."""
        super().__init__()
        self.heads, self.mix = heads, Mix()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(B, N, width) each -> (B, N, width)."""
        parts = self.q_proj(query), self.k_proj(key), self.v_proj(value)
        heads = [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts]
        mixed = self.mix(*heads)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class FeedForward(nn.Sequential):
    """Two linear layers with a ReLU between."""

    def __init__(self, width: int, hidden: int) -> None:
        """From `width` over `hidden` back to `width`."""
        super().__init__(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward network, the norm before each (equation 2)."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        """Sizes as in `Config`."""
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.self_attn = Attention(width, heads)
        self.mlp = FeedForward(width, hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, width) -> the same shape."""
        normed = self.norm1(tokens)
        tokens = tokens + self.self_attn(normed, normed, normed)
        return tokens + self.mlp(self.norm2(tokens))  # type: ignore[no-any-return]


class DecoderLayer(nn.Module):
    """As the encoder's, then attention to the encoder's output (equation 3)."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        """Sizes as in `Config`."""
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.self_attn, self.cross_attn = Attention(width, heads), Attention(width, heads)
        self.mlp = FeedForward(width, hidden)

    def forward(self, tokens: Tensor, memory: Tensor, task: Tensor) -> Tensor:
        """(B, N, width), the encoder's output (B, N, width), the task's embedding (N, width)."""
        normed = self.norm1(tokens)
        query = normed + task
        tokens = tokens + self.self_attn(query, query, normed)
        tokens = tokens + self.cross_attn(self.norm2(tokens) + task, memory, memory)
        return tokens + self.mlp(self.norm3(tokens))  # type: ignore[no-any-return]
