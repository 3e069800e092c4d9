"""The names and layouts that published iGPT weights have."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from export.zoo.family import Convention, StateDict, rename, split_qkv

_HUB = {
    "ln_1": "norm_before",
    "ln_2": "norm_after",
    "attn.c_proj": "attention.output",
    "mlp.c_fc": "expand",
    "mlp.c_proj": "contract",
}
_HUB_TOP = {
    "transformer.wte": "tokens",
    "transformer.wpe": "positions",
    "transformer.ln_f": "norm",
    "lm_head": "head",
}
_KOKER = {
    "ln_1": "norm_before",
    "ln_2": "norm_after",
    "attn.out_proj": "attention.output",
    "mlp.0": "expand",
    "mlp.2": "contract",
}
_KOKER_TOP = {"position_embeddings": "positions", "ln_f": "norm"}


def _from_hub(state: Mapping[str, Tensor]) -> StateDict:
    converted: StateDict = {}
    for name, tensor in state.items():
        layer = re.match(r"transformer\.h\.(\d+)\.", name)
        if not layer:
            converted[rename(name, _HUB_TOP)] = tensor
            continue
        rest = name[layer.end() :]
        if rest in ("attn.bias", "attn.masked_bias"):
            continue  # the causal mask, which older files hold
        # GPT-2's layers multiply from the other side.
        value = tensor.T.contiguous() if tensor.ndim == 2 else tensor
        converted |= _layer(f"layers.{layer[1]}.", rename(rest, _HUB), "attn.c_attn.", value)
    return converted


def _from_koker(state: Mapping[str, Tensor]) -> StateDict:
    converted: StateDict = {}
    for name, tensor in state.items():
        layer = re.match(r"layers\.(\d+)\.", name)
        if name.startswith("clf_head.") or name in ("centroids", "sos"):
            continue  # a classifier, and the palette, which is preprocessing
        if layer:
            rest = rename(name[layer.end() :], _KOKER)
            converted |= _layer(layer[0], rest, "attn.in_proj_", tensor)
        elif name == "token_embeddings.weight":
            converted["tokens.weight"] = torch.cat([tensor, state["sos"][None]])
        else:
            converted[rename(name, _KOKER_TOP)] = tensor
    return converted


def _layer(layer: str, name: str, stacked: str, tensor: Tensor) -> StateDict:
    """A tensor of a layer; queries, keys and values are in one, whose name begins `stacked`."""
    if not name.startswith(stacked):
        return {layer + name: tensor}
    query, key, value = (f"{layer}attention.{part}" for part in ("query", "key", "value"))
    return split_qkv(f"in.{name.removeprefix(stacked)}", tensor, (query, key, value))


CONVENTIONS = (
    Convention("Hugging Face", "transformer.wte.weight", _from_hub),
    Convention("Koker's", "token_embeddings.weight", _from_koker),
)
"""Those of the hub, and those of https://github.com/teddykoker/image-gpt."""
