"""TransPose-R (Yang et al. 2021, "TransPose: Keypoint Localization via Transformer").

Sections are the paper's (arXiv:2012.14214). As in the authors' own code, neither the
reduction to the width of a token nor the deconvolution before its batch norm has a bias.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from transformers import ResNetBackbone, ResNetConfig

from export.zoo.deconvolution import SubPixelDeconvolution
from export.zoo.family import Convention, Family, StateDict, rename, split_qkv
from export.zoo.folding import fold_resnet_norms
from export.zoo.mixing import fuse_mixes
from export.zoo.reference import OwnModule
from export.zoo.resnet_names import resnet_name
from export.zoo.transpose_encoder import EncoderLayer, sine_positions

_STEM_STRIDE = 8


@dataclass(frozen=True)
class TransPoseConfig:
    """One member; without arguments TransPose-R-A3.

    Attributes:
        image_size: height and width in pixels, multiples of 8.
        num_labels: keypoints, each with a heatmap.
        stem_width: channels of the stem's first convolution.
        depths: bottleneck blocks of the stem's two stages.
        width: d, of a token.
        feedforward: h, hidden width of an encoder layer's MLP.
        heads: of its attention.
        layers: of the encoder.
    """

    image_size: Sequence[int] = (256, 192)
    num_labels: int = 17
    stem_width: int = 64
    depths: Sequence[int] = (3, 4)
    width: int = 256
    feedforward: int = 1024
    heads: int = 8
    layers: int = 3


class TransPose(nn.Module):
    """Pixels to heatmaps, by way of tokens at an eighth of the image's size (section 3.1)."""

    def __init__(self, config: TransPoseConfig) -> None:
        """Random weights; those after the encoder start close to zero, as the authors' do."""
        super().__init__()
        first = config.stem_width
        # ResNet-S: the first two stages of a ResNet-50, to an eighth of the image's size.
        self.stem = ResNetBackbone(
            ResNetConfig(
                embedding_size=first,
                hidden_sizes=[4 * first, 8 * first],
                depths=list(config.depths),
                out_features=["stage2"],
            )
        )
        self.reduce = nn.Conv2d(8 * first, config.width, 1, bias=False)
        grid = [side // _STEM_STRIDE for side in config.image_size]
        # Fixed, but stored and counted, as the authors do.
        position = sine_positions(grid[0], grid[1], config.width)
        self.position = nn.Parameter(position, requires_grad=False)
        self.encoder = nn.ModuleList(
            EncoderLayer(config.width, config.feedforward, config.heads)
            for _ in range(config.layers)
        )
        self.deconvolution = nn.ConvTranspose2d(config.width, config.width, 4, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(config.width)
        self.head = nn.Conv2d(config.width, config.num_labels, 1)
        nn.init.normal_(self.deconvolution.weight, std=0.001)
        nn.init.normal_(self.head.weight, std=0.001)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) to the graph's outputs.

        Returns:
            `heatmaps` (B, keypoints, H/4, W/4), and `queries` and `keys` of the last encoder layer,
            each (B, heads, H/8 * W/8, width / heads), from which the dependency of any place on
            any other follows (section 3.3).
        """
        features = self.reduce(self.stem(pixel_values).feature_maps[0])
        tokens = features.flatten(2).transpose(1, 2)
        for layer in self.encoder:
            tokens, queries, keys = layer(tokens, self.position)
        encoded = tokens.transpose(1, 2).unflatten(2, features.shape[2:])
        raised = self.norm(self.deconvolution(encoded)).relu()
        return {"heatmaps": self.head(raised), "queries": queries, "keys": keys}


def use_operators(model: nn.Module) -> None:
    """`FusedAttention`, and convolutions that hold their norms, in an eval-mode reference.

    The deconvolution becomes a convolution, for which there are int8 kernels.
    """
    assert isinstance(model, TransPose)
    fold_resnet_norms(model.stem)
    fuse_mixes(model.encoder)
    fused = fuse_conv_bn_eval(model.deconvolution, model.norm, transpose=True)
    model.deconvolution = SubPixelDeconvolution(fused)  # type: ignore[assignment]
    model.norm = nn.Identity()  # type: ignore[assignment]


_TOP = {"pos_embedding": "position", "deconv_layers.0": "deconvolution"}
_TOP |= {"deconv_layers.1": "norm", "final_layer": "head"}


def _from_authors(state: Mapping[str, Tensor]) -> StateDict:
    converted: StateDict = {}
    for name, tensor in state.items():
        layer = re.match(r"global_encoder\.layers\.(\d+)\.(self_attn\.)?", name)
        if not layer:
            inside = resnet_name(name)
            renamed = rename(name, _TOP) if inside == name else f"stem.{inside}"
            # Positions (N, 1, width) have the authors' batch axis.
            converted[renamed] = tensor.squeeze(1) if renamed == "position" else tensor
            continue
        rest, target = name[layer.end() :], f"encoder.{layer[1]}."
        target += "attention." if layer[2] else ""
        if stacked := re.fullmatch(r"in_proj_(weight|bias)", rest):
            targets = (f"{target}q_proj", f"{target}k_proj", f"{target}v_proj")
            converted |= split_qkv(f"in_proj.{stacked[1]}", tensor, targets)
        else:
            converted[target + rename(rest, {"out_proj": "o_proj"})] = tensor
    return converted


FAMILY = Family(
    reference=OwnModule(TransPoseConfig, TransPose),
    outputs=("heatmaps", "queries", "keys"),
    ragged=False,
    use_operators=use_operators,
    conventions=(Convention("the authors'", "final_layer.weight", _from_authors),),
)
