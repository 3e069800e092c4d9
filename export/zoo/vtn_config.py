"""The configuration of a VTN."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VtnConfig:
    """A VTN with a ViT as its spatial backbone.

    Attributes:
        num_labels: classes.
        num_frames: of a clip.
        frame_step: by how many positions successive frames are apart: their distance in the video
            that the positions were learned on.
        image_size: side of a frame in pixels, a multiple of the patch.
        patch_size: side in pixels.
        hidden_size: width of the backbone, and so of the temporal encoder.
        num_hidden_layers: of the backbone.
        num_attention_heads: of each of its layers.
        intermediate_size: of each of its MLPs.
        temporal_layers: of the temporal encoder.
        temporal_heads: of each of its layers.
        temporal_intermediate_size: of each of its MLPs.
        attention_window: frames that a frame attends to besides itself, half of them before it.
        max_positions: that are learned: of frames all but two, one of the class token and one of
            padding.
        head_size: hidden width of the MLP that classifies.
        layer_norm_eps: of the backbone's layer norms.
        temporal_layer_norm_eps: of the temporal encoder's.
        initializer_range: standard deviation of random weights.

    Raises:
        ValueError: an odd window, or too few positions.
    """

    num_labels: int
    num_frames: int = 16
    frame_step: int = 8
    image_size: int = 224
    patch_size: int = 16
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    temporal_layers: int = 3
    temporal_heads: int = 12
    temporal_intermediate_size: int = 3072
    attention_window: int = 32
    max_positions: int = 288
    head_size: int = 768
    layer_norm_eps: float = 1e-6
    temporal_layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        """Check what would otherwise fail far from here."""
        if self.attention_window < 2 or self.attention_window % 2:
            raise ValueError(
                f"config.attention_window is {self.attention_window}; give an even number of "
                "frames, half of them before a frame"
            )
        if self.max_positions < 3:
            raise ValueError(
                f"config.max_positions is {self.max_positions}; give at least 3: frames, the "
                "class token and padding"
            )
