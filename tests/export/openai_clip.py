"""CLIP as OpenAI's names and shapes say it, in functions of torch alone: what ours is tested with.

Attention is torch's own `multi_head_attention_forward`, in whose terms OpenAI stores weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

State = Mapping[str, Tensor]


def transformer_shapes(prefix: str, width: int, layers: int) -> dict[str, tuple[int, ...]]:
    """Of the residual blocks, with MLPs of four times the width."""
    block = {
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        "attn.out_proj.weight": (width, width),
        "attn.out_proj.bias": (width,),
        "ln_1.weight": (width,),
        "ln_1.bias": (width,),
        "ln_2.weight": (width,),
        "ln_2.bias": (width,),
        "mlp.c_fc.weight": (4 * width, width),
        "mlp.c_fc.bias": (4 * width,),
        "mlp.c_proj.weight": (width, 4 * width),
        "mlp.c_proj.bias": (width,),
    }
    names = (f"{prefix}transformer.resblocks.{n}." for n in range(layers))
    return {name + key: shape for name in names for key, shape in block.items()}


def text_shapes(
    symbols: int, length: int, width: int, layers: int, embedding: int
) -> dict[str, tuple[int, ...]]:
    return {
        "token_embedding.weight": (symbols, width),
        "positional_embedding": (length, width),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
        "text_projection": (width, embedding),
        "logit_scale": (),
        **transformer_shapes("", width, layers),
    }


def vit_shapes(
    side: int, patch: int, width: int, layers: int, embedding: int
) -> dict[str, tuple[int, ...]]:
    names = {
        "conv1.weight": (width, 3, patch, patch),
        "class_embedding": (width,),
        "positional_embedding": ((side // patch) ** 2 + 1, width),
        "ln_pre.weight": (width,),
        "ln_pre.bias": (width,),
        "ln_post.weight": (width,),
        "ln_post.bias": (width,),
        "proj": (width, embedding),
    }
    inside = {f"visual.{name}": shape for name, shape in names.items()}
    return inside | transformer_shapes("visual.", width, layers)


def resnet_shapes(
    side: int, width: int, depths: tuple[int, ...], embedding: int
) -> dict[str, tuple[int, ...]]:
    convolutions = {
        "conv1": (width // 2, 3, 3, 3),
        "conv2": (width // 2, width // 2, 3, 3),
        "conv3": (width, width // 2, 3, 3),
    }
    inputs = width
    for stage, depth in enumerate(depths):
        inner = width << stage
        for block in range(depth):
            name = f"layer{stage + 1}.{block}"
            convolutions |= {
                f"{name}.conv1": (inner, inputs, 1, 1),
                f"{name}.conv2": (inner, inner, 3, 3),
                f"{name}.conv3": (4 * inner, inner, 1, 1),
            }
            if not block:
                convolutions[f"{name}.downsample.0"] = (4 * inner, inputs, 1, 1)
            inputs = 4 * inner
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in convolutions.items():
        found[f"visual.{name}.weight"] = shape
        norm = name.replace("downsample.0", "downsample.1").replace("conv", "bn")
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"visual.{norm}.{part}"] = shape[:1]
    cells = (side >> (len(depths) + 1)) ** 2
    found["visual.attnpool.positional_embedding"] = (cells + 1, inputs)
    for part, outputs in (("q", inputs), ("k", inputs), ("v", inputs), ("c", embedding)):
        found[f"visual.attnpool.{part}_proj.weight"] = (outputs, inputs)
        found[f"visual.attnpool.{part}_proj.bias"] = (outputs,)
    return found


def random_state(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """In which every weight, bias and statistic makes a difference."""
    torch.manual_seed(0)
    state = {}
    for name, shape in shapes.items():
        tensor = torch.randn(shape) * (0.2 if len(shape) < 2 else math.prod(shape[1:]) ** -0.5)
        if name.endswith("running_var"):
            tensor = tensor.abs() + 0.5
        elif len(shape) == 1 and name.endswith("weight"):  # of norms
            tensor = tensor + 1
        state[name] = tensor
    return state


def transformer(
    state: State, prefix: str, tokens: Tensor, heads: int, mask: Tensor | None = None
) -> Tensor:
    """(B, N, C) through every residual block that the state has."""
    layer = 0
    while f"{prefix}transformer.resblocks.{layer}.ln_1.weight" in state:
        at = f"{prefix}transformer.resblocks.{layer}."
        tokens = tokens + attention(
            norm(state, f"{at}ln_1", tokens), None, heads, mask, state[f"{at}attn.in_proj_weight"],
            state[f"{at}attn.in_proj_bias"], state[f"{at}attn.out_proj.weight"],
            state[f"{at}attn.out_proj.bias"],
        )  # fmt: skip
        hidden = functional.linear(
            norm(state, f"{at}ln_2", tokens), state[f"{at}mlp.c_fc.weight"],
            state[f"{at}mlp.c_fc.bias"],
        )  # fmt: skip
        hidden = hidden * torch.sigmoid(1.702 * hidden)
        tokens = tokens + functional.linear(
            hidden, state[f"{at}mlp.c_proj.weight"], state[f"{at}mlp.c_proj.bias"]
        )
        layer += 1
    return tokens


def attention(
    queries: Tensor, tokens: Tensor | None, heads: int, mask: Tensor | None, weight: Tensor,
    bias: Tensor, output: Tensor, output_bias: Tensor,
) -> Tensor:  # fmt: skip
    """torch's, of (B, N, C); `tokens` are those of keys and values, None for the queries'."""
    query = queries.transpose(0, 1)
    keys = query if tokens is None else tokens.transpose(0, 1)
    mixed, _ = functional.multi_head_attention_forward(
        query, keys, keys, query.shape[-1], heads, weight, bias, None, None, False, 0.0, output,
        output_bias, training=False, need_weights=False, attn_mask=mask,
    )  # fmt: skip
    return mixed.transpose(0, 1)


def norm(state: State, name: str, tokens: Tensor) -> Tensor:
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return functional.layer_norm(tokens, weight.shape, weight, bias, 1e-5)


def text(state: State, input_ids: Tensor, heads: int) -> Tensor:
    """Embeddings (B, D) of length 1."""
    length = input_ids.shape[1]
    tokens = state["token_embedding.weight"][input_ids] + state["positional_embedding"]
    mask = torch.full((length, length), -torch.inf).triu(1)
    tokens = norm(state, "ln_final", transformer(state, "", tokens, heads, mask))
    ends = tokens[torch.arange(len(tokens)), input_ids.argmax(dim=-1)]
    return functional.normalize(ends @ state["text_projection"])


def vit(state: State, pixels: Tensor, heads: int) -> Tensor:
    """Embeddings (B, D) of length 1."""
    kernel = state["visual.conv1.weight"]
    patches = functional.conv2d(pixels, kernel, stride=kernel.shape[-1]).flatten(2).mT
    first = state["visual.class_embedding"].expand(len(pixels), 1, -1)
    tokens = torch.cat([first, patches], 1) + state["visual.positional_embedding"]
    tokens = transformer(state, "visual.", norm(state, "visual.ln_pre", tokens), heads)
    found = norm(state, "visual.ln_post", tokens[:, 0]) @ state["visual.proj"]
    return functional.normalize(found)


def resnet(state: State, pixels: Tensor, heads: int) -> Tensor:
    """Embeddings (B, D) of length 1."""

    def unit(name: str, normed: str, maps: Tensor, stride: int = 1) -> Tensor:
        kernel = state[f"visual.{name}.weight"]
        maps = functional.conv2d(maps, kernel, None, stride, kernel.shape[-1] // 2)
        parts = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(maps, *(state[f"visual.{normed}.{part}"] for part in parts))

    maps = pixels
    for number, stride in ((1, 2), (2, 1), (3, 1)):
        maps = unit(f"conv{number}", f"bn{number}", maps, stride).relu()
    maps = functional.avg_pool2d(maps, 2)
    stage = block = 0
    while f"visual.layer{stage + 1}.0.conv1.weight" in state:
        at = f"layer{stage + 1}.{block}."
        if f"visual.{at}conv1.weight" not in state:
            stage, block = stage + 1, 0
            continue
        pooling = 2 if stage and not block else 1
        hidden = unit(f"{at}conv1", f"{at}bn1", maps).relu()
        hidden = unit(f"{at}conv2", f"{at}bn2", hidden).relu()
        hidden = unit(f"{at}conv3", f"{at}bn3", functional.avg_pool2d(hidden, pooling))
        if not block:
            maps = functional.avg_pool2d(maps, pooling)
            maps = unit(f"{at}downsample.0", f"{at}downsample.1", maps)
        maps, block = (hidden + maps).relu(), block + 1
    tokens = maps.flatten(2).mT
    tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
    tokens = tokens + state["visual.attnpool.positional_embedding"]
    parts = [
        torch.cat([state[f"visual.attnpool.{part}_proj.{kind}"] for part in "qkv"])
        for kind in ("weight", "bias")
    ]
    output = [state[f"visual.attnpool.c_proj.{kind}"] for kind in ("weight", "bias")]
    width = tokens.shape[-1]
    # torch's ends in a square projection; the pooling's is not square, so the identity stands in.
    mixed = attention(
        tokens[:, :1], tokens, heads, None, *parts, torch.eye(width), torch.zeros(width)
    )
    return functional.normalize(functional.linear(mixed[:, 0], *output))
