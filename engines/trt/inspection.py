"""Reads what an engine's inspector says of its layers.

Its JSON describes each layer by name, type, tensors, kernel ("TacticName") and the ONNX nodes it
came from (see `runtime.backends.tensorrt_layers`). Up to 10.x a tensor has "Format/Datatype", a
phrase such as "Row major linear FP16 format" or "Half"; 11.x has "Format" and "Datatype" instead.

Inferred from NVIDIA's description and from published outputs of 10.x, and never checked on an
engine of ours: the spelling of types in 11.x, and that the kernel of a quantised product is named
by its operands (…_i8i8_…, …_i8f32_…, imma).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.backends.tensorrt_layers import layer_records, onnx_nodes, plain_name

# Tried in this order: the later patterns also match the earlier types.
_TYPES = (
    ("int8", r"(?<!u)int8"),
    ("fp8", r"fp8|float8"),
    ("bf16", r"bf16|bfloat16"),
    ("fp16", r"fp16|float16|half"),
    ("fp32", r"fp32|float"),
)
# How the words of a kernel's name, between underscores, begin that tell a product's operands.
_OPERANDS = (
    ("int8", r"i8|i168|s8(?!\d)|int8|imma"),
    ("bf16", r"bf16"),
    ("fp16", r"f16|fp16|h884|h1688|h16816|hmma"),
    ("fp32", r"tf32|f32|fp32|sgemm"),
)
_PRODUCT = re.compile(
    r"conv|gemm|matmul|matrix|fully|plugin|mha|attention|fprop|xmma|cutlass", re.I
)
# Attention as a whole, as its kernels are called (_gemm_mha_v2, fmha, flash) and our plugins.
_ATTENTION = re.compile(r"mha|flash_?att|attention_v3|vitrine\w*attention", re.I)
_REGION = re.compile(r"foreignnode|^myelin", re.I)


@dataclass(frozen=True)
class EngineLayer:
    """A layer of an engine.

    Attributes:
        name: as the engine has it.
        nodes: names of the ONNX nodes it computes.
        reads: precisions of its inputs and weights, and what its kernel is named after.
        writes: precisions of its outputs.
        is_told: whether `reads` is what it multiplies: its kernel is named after that, or it is a
            plugin, which lists all it reads. Any other may quantise or cast what it reads, and
            constant weights are not listed.
        is_product: whether it seems to be a matrix product, a convolution or a plugin.
        is_region: whether it stands for a whole part of the graph, whose inside is not described.
        is_attention: whether its kernel is named like attention as a whole.
    """

    name: str
    nodes: frozenset[str]
    reads: frozenset[str]
    writes: frozenset[str]
    is_told: bool
    is_product: bool
    is_region: bool
    is_attention: bool


def read_layers(text: str) -> list[EngineLayer]:
    """The layers in an inspector's JSON; none when it describes none, as names only or nothing."""
    return [_layer(each) for each in layer_records(text)]


def count_precisions(layers: Iterable[EngineLayer]) -> dict[str, int]:
    """Precision -> how many layers compute in it: the lowest that a layer reads.

    "other" counts those that read none of them, and regions, of whose inside none is told.
    """
    order = [name for name, _ in _TYPES]
    told = (frozenset() if each.is_region else each.reads for each in layers)
    found = (next((name for name in order if name in reads), "other") for reads in told)
    return dict(sorted(Counter(found).items()))


def _layer(record: Mapping[str, Any]) -> EngineLayer:
    name = plain_name(str(record.get("Name", "")))
    kernel = str(record.get("TacticName", ""))
    kind = f"{record.get('LayerType', '')} {record.get('ParameterType', '')} {kernel}"
    weights = record.get("Weights")
    weight = str(weights.get("Type", "")) if isinstance(weights, Mapping) else ""
    operands = _operands(kernel)
    reads = {operands, *map(_precision, [*_types(record.get("Inputs")), weight]), ""} - {""}
    return EngineLayer(
        name=name,
        nodes=frozenset(onnx_nodes(record)),
        reads=frozenset(reads),
        writes=frozenset(map(_precision, _types(record.get("Outputs")))) - {""},
        is_told=bool(operands or (reads and re.search("plugin", kind, re.I))),
        is_product=bool(_PRODUCT.search(kind)),
        is_region=bool(_REGION.search(kind) or _REGION.search(name)),
        is_attention=bool(_ATTENTION.search(f"{kind} {record.get('PluginType', '')}")),
    )


def _types(tensors: Any) -> list[str]:
    """What is said of each tensor's type, in any of the spellings."""
    listed: Sequence[Any] = tensors if isinstance(tensors, list) else []
    keys = ("Datatype", "DataType", "Format/Datatype")
    return [
        next((str(each[key]) for key in keys if key in each), "")
        for each in listed
        if isinstance(each, Mapping)
    ]


def _precision(phrase: str) -> str:
    return next((name for name, word in _TYPES if re.search(word, phrase.lower())), "")


def _operands(kernel: str) -> str:
    words = kernel.lower().split("_")
    found = (name for word in words for name, start in _OPERANDS if re.match(start, word))
    return next(found, "")
