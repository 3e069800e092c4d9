"""CLIP's tensors as OpenAI names them, and open_clip after it (`visual.conv1.weight`, ...)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from export.zoo.family import Convention, StateDict, rename, split_qkv

_TOP = {
    "token_embedding": "text_model.embeddings.token_embedding",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final": "text_model.final_layer_norm",
    "text_projection": "text_projection.weight",
}
_VIT = {
    "visual.conv1": "vision_model.embeddings.patch_embedding",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
    "visual.proj": "visual_projection.weight",
}
_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_POOL = {
    "positional_embedding": "positions",
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "c_proj": "output",
}
_UNITS = ("reduce", "mix", "expand")
_PARTS = {"conv": "convolution", "bn": "norm", "0": "convolution", "1": "norm"}
_TRANSPOSED = ("text_projection", "visual.proj")  # matrices to multiply by from the right


def _from_openai(state: Mapping[str, Tensor]) -> StateDict:
    converted: StateDict = {}
    for name, tensor in state.items():
        inside = re.match(r"(visual\.)?transformer\.resblocks\.(\d+)\.", name)
        if not inside:
            renamed = rename(name, {**_TOP, **_VIT})
            converted[renamed] = tensor.T.contiguous() if name in _TRANSPOSED else tensor
            continue
        model = "vision_model" if inside[1] else "text_model"
        layer, rest = f"{model}.encoder.layers.{inside[2]}", name[inside.end() :]
        stacked = re.fullmatch(r"attn\.in_proj_(weight|bias)", rest)
        if stacked:
            parts = tuple(f"{layer}.self_attn.{part}_proj" for part in "qkv")
            converted |= split_qkv(f"qkv.{stacked[1]}", tensor, (parts[0], parts[1], parts[2]))
        else:
            converted[f"{layer}.{rename(rest, _LAYER)}"] = tensor
    return converted


def _resnet_name(name: str, starts: list[int]) -> str:
    """Of a tensor below `visual.`; `starts`: number of the first block of each stage."""
    if pool := re.match(r"attnpool\.", name):
        return f"visual.pool.{rename(name[pool.end() :], _POOL)}"
    if stem := re.match(r"(conv|bn)([123])\.", name):
        return f"visual.stem.{int(stem[2]) - 1}.{_PARTS[stem[1]]}.{name[stem.end() :]}"
    block = re.match(r"layer(\d)\.(\d+)\.(?:(conv|bn)([123])|downsample\.([01]))\.", name)
    if not block:
        return f"visual.{name}"
    number = starts[int(block[1]) - 1] + int(block[2])
    unit = _UNITS[int(block[4]) - 1] if block[3] else "shortcut"
    part = _PARTS[block[3] or block[5]]
    return f"visual.blocks.{number}.{unit}.{part}.{name[block.end() :]}"


def _resnet_from_openai(state: Mapping[str, Tensor]) -> StateDict:
    depths: dict[int, int] = {}
    for name in state:
        if block := re.match(r"visual\.layer(\d)\.(\d+)\.", name):
            depths[int(block[1])] = max(depths.get(int(block[1]), 0), int(block[2]) + 1)
    starts = [sum(depths.get(stage, 0) for stage in range(1, last)) for last in range(1, 10)]
    visual, rest = {}, {}
    for name, tensor in state.items():
        if name.startswith("visual."):
            visual[_resnet_name(name.removeprefix("visual."), starts)] = tensor
        else:
            rest[name] = tensor
    return visual | _from_openai(rest)


OPENAI = (Convention("OpenAI", "token_embedding.weight", _from_openai),)
OPENAI_RESNET = (Convention("OpenAI", "token_embedding.weight", _resnet_from_openai),)
