"""The configuration of an iGPT."""

from __future__ import annotations

from dataclasses import dataclass

_CHOICES = {
    "norm": ("rms", "layer"),
    "activation": ("quick_gelu", "gelu"),
    "residual": ("tokens", "normed"),
}


@dataclass(frozen=True)
class ImageGptConfig:
    """An iGPT; without arguments iGPT-S as OpenAI released it.

    Attributes:
        image_size: side in pixels; a token is a pixel.
        clusters: colours.
        width: of a token.
        layers: of the transformer.
        heads: of each layer.
        feature_layer: l, whose normalised input the features are; from 0 to `layers`, None for
            the middle.
        norm: "rms" divides by the root of the mean square and has no offset, as the released
            models do; "layer" is a layer norm.
        activation: of the MLPs: "quick_gelu", x · sigmoid(1.702 x), or the exact "gelu".
        residual: what attention is added to: "tokens", or their norm ("normed").
        initializer_range: standard deviation of random weights.

    Raises:
        ValueError: a choice or a layer that there is not.
    """

    image_size: int = 32
    clusters: int = 512
    width: int = 512
    layers: int = 24
    heads: int = 8
    feature_layer: int | None = None
    norm: str = "rms"
    activation: str = "quick_gelu"
    residual: str = "tokens"
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        """Check what would otherwise fail far from here."""
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"config.{name} is {getattr(self, name)!r}; use one of {', '.join(allowed)}"
                )
        if not 0 <= self.read_layer <= self.layers:
            raise ValueError(
                f"config.feature_layer is {self.feature_layer}; give 0 to {self.layers}"
            )
        if self.width % self.heads:
            raise ValueError(
                f"config.width {self.width} is not a multiple of heads {self.heads}; give one"
            )

    @property
    def read_layer(self) -> int:
        """The layer whose normalised input the features are."""
        return self.layers // 2 if self.feature_layer is None else self.feature_layer

    @property
    def positions(self) -> int:
        """Tokens of an image."""
        return self.image_size**2
