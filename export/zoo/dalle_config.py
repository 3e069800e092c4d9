"""The configuration of a DALL·E."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from export.zoo.dvae_config import DvaeConfig


@dataclass(frozen=True)
class DalleConfig:
    """A DALL·E; without arguments that of 12 billion parameters.

    Attributes:
        text_length: tokens that a text is filled up to.
        text_tokens: in the text's vocabulary, the mark of its end the highest.
        width: of a token.
        heads: of each layer.
        layers: of the transformer.
        kernel: side of the square of image tokens that the last layer sees.
        dvae: arguments of `DvaeConfig`.

    Raises:
        ValueError: numbers that do not fit each other.
    """

    text_length: int = 256
    text_tokens: int = 16_384
    width: int = 62 * 64
    heads: int = 62
    layers: int = 64
    kernel: int = 11
    dvae: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what would otherwise fail far from here."""
        for name in ("text_length", "text_tokens", "heads", "layers", "kernel"):
            if getattr(self, name) < 1:
                raise ValueError(f"config.{name} is {getattr(self, name)}; give at least 1")
        if self.width % self.heads:
            raise ValueError(
                f"config.width {self.width} is not a multiple of heads {self.heads}; give one"
            )
        if self.kernel % 2 == 0 or self.kernel > self.images.grid:
            raise ValueError(
                f"config.kernel is {self.kernel}; give an odd one, of the grid's side "
                f"{self.images.grid} at most"
            )

    @property
    def images(self) -> DvaeConfig:
        """Of the dVAE."""
        return DvaeConfig(**self.dvae)

    @property
    def places(self) -> int:
        """Inputs of the transformer: all tokens but the last of the image."""
        return self.text_length + self.images.grid**2 - 1
