"""ResNet (He et al. 2015), the convolutional baseline; no attention, so no operator of ours.

The stride of a bottleneck sits on its 3 x 3 convolution, as in torchvision, timm and every
published checkpoint ("v1.5"), not on the 1 x 1 before it, as in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from export.zoo.family import Convention, Family, StateDict, rename
from export.zoo.folding import fold_resnet_norms
from export.zoo.reference import FromTransformers
from export.zoo.resnet_names import resnet_name

_HEAD = {"fc": "classifier.1"}


def _from_torchvision(state: Mapping[str, Tensor]) -> StateDict:
    return {rename(resnet_name(name, "resnet."), _HEAD): tensor for name, tensor in state.items()}


FAMILY = Family(
    reference=FromTransformers("resnet", "AutoModelForImageClassification"),
    outputs=("logits",),
    ragged=False,
    use_operators=fold_resnet_norms,
    # timm's names are torchvision's.
    conventions=(Convention("torchvision", "fc.weight", _from_torchvision),),
)
