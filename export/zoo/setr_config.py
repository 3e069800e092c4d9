"""The configuration of a SETR."""

from __future__ import annotations

from dataclasses import dataclass

_DECODERS = ("naive", "pup", "mla")


@dataclass(frozen=True)
class SetrConfig:
    """A SETR.

    Attributes:
        decoder: "naive", "pup" or "mla".
        num_labels: classes.
        image_size: side in pixels, a multiple of the patch.
        patch_size: side in pixels.
        hidden_size: width of the encoder.
        num_hidden_layers: of the encoder.
        num_attention_heads: of each layer.
        intermediate_size: of each MLP.
        decoder_channels: of the decoder's convolutions; MLA's last ones have half.
        mla_layers: whose features MLA reads, counted from 1, the shallowest first.
        layer_norm_eps: of every layer norm.
        initializer_range: standard deviation of random weights.

    Raises:
        ValueError: a decoder that there is not, or an image that is not whole patches.
    """

    decoder: str
    num_labels: int
    image_size: int = 512
    patch_size: int = 16
    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    intermediate_size: int = 4096
    decoder_channels: int = 256
    mla_layers: tuple[int, ...] = (6, 12, 18, 24)
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        """Check what would otherwise fail far from here."""
        if self.decoder not in _DECODERS:
            raise ValueError(
                f"config.decoder is {self.decoder!r}; use one of {', '.join(_DECODERS)}"
            )
        if self.image_size % self.patch_size:
            raise ValueError(
                f"config.image_size {self.image_size} is not a multiple of patch_size "
                f"{self.patch_size}; give whole patches"
            )
