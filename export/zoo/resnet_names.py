"""The tensor names of torchvision's and timm's ResNets, which are the same."""

from __future__ import annotations

import re

_UNIT = {"conv": "convolution", "bn": "normalization"}


def resnet_name(name: str, root: str = "") -> str:
    """A torchvision or timm name as `transformers`' ResNet has it.

    Args:
        name: of a tensor; one that is not of the stem or of a stage is returned as it is.
        root: path of the ResNet in the model, with a dot at its end where it is not empty.
    """
    if stem := re.fullmatch(r"(conv|bn)1\.(\w+)", name):
        return f"{root}embedder.embedder.{_UNIT[stem[1]]}.{stem[2]}"
    block = re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn|downsample\.)(\d)\.(\w+)", name)
    if not block:
        return name
    stage = f"{root}encoder.stages.{int(block[1]) - 1}.layers.{block[2]}"
    if block[3] == "downsample.":
        unit = "normalization" if block[4] == "1" else "convolution"
        return f"{stage}.shortcut.{unit}.{block[5]}"
    return f"{stage}.layer.{int(block[4]) - 1}.{_UNIT[block[3]]}.{block[5]}"
