"""Which ONNX nodes an engine's layers compute, as its inspector says.

TensorRT fuses nodes and names the result as it likes (`__myl_FcMulAdd_myl0_1`). The inspector's
JSON (NVIDIA, "TensorRT developer guide", engine inspector) has a record for each layer, with its
name and, in "Metadata", its nodes in the form "[ONNX Layer: NAME]" with a separator between.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_NODE = re.compile(r"\[ONNX Layer: (.*?)\](?=[\x00-\x1f\s,;]|\[ONNX|$)")
_PROFILE = re.compile(r" \[profile \d+\]$")  # what a name ends with in a profile but the first


def layer_records(text: str) -> list[Mapping[str, Any]]:
    """The records of an inspector's JSON; none when it describes none, as names only or nothing."""
    try:
        record = json.loads(text, strict=False)  # control characters between names, as they are
    except ValueError:
        return []
    layers = record.get("Layers", []) if isinstance(record, Mapping) else []
    return [each for each in layers if isinstance(each, Mapping)]


def plain_name(name: str) -> str:
    """A layer's name without the profile that it belongs to."""
    return _PROFILE.sub("", name)


def onnx_nodes(record: Mapping[str, Any]) -> list[str]:
    """The names of a layer's nodes; of its own name's parts where it does not list them."""
    listed = _NODE.findall(str(record.get("Metadata", "")))
    return listed or plain_name(str(record.get("Name", ""))).split(" + ")
