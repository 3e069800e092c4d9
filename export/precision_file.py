"""The precision map as a small YAML file: written into bundles, reviewed, and read back.

model: vit_ti_16
nodes:
  vit.layers.0.attention.q_proj: {type: int8, why: "a linear layer"}
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from calibration.precision import PrecisionMap

PRECISION_MAP = "precision_map.yaml"
_TYPES = ("int8", "fp16", "fp32")
_HEADER = """\
# The type in which each node of {model} computes, and why.
# An int8 map may be edited and given back: vitrine build --precision int8 --precision-map FILE
"""


class PrecisionMapError(ValueError):
    """A mistake in a precision map file; one line with file and line."""


def precision_map_text(model: str, nodes: Mapping[str, Mapping[str, str]]) -> str:
    """The file's text, nodes in the order of the graph."""
    body = {"model": model, "nodes": {name: dict(entry) for name, entry in nodes.items()}}
    dumped = yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=10_000)
    return _HEADER.format(model=model) + dumped


def read_precision_map(path: Path, model: str, linears: PrecisionMap) -> PrecisionMap:
    """Reads a reviewed map and checks it against the graph.

    Args:
        path: Of the file.
        model: Whose map it must be.
        linears: Every linear of the graph; those that cannot be int8 have type "fp32" and say why.

    Returns:
        Every linear with its type and reason, in the order of the graph.

    Raises:
        PrecisionMapError: Not such a file, an unknown or missing node, an unknown type, or int8
            where it cannot be.
    """
    text = path.read_text(encoding="utf-8")
    try:
        tree, data = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PrecisionMapError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict) or set(data) != {"model", "nodes"}:
        raise PrecisionMapError(f"{path}: expected the keys `model` and `nodes` and no others")
    lines = _lines(path, tree)
    if data["model"] != model:
        raise PrecisionMapError(
            f"{path}, line {lines[()]}: this is the map of {data['model']!r}, not of {model!r}; "
            "give the one that a build of this model wrote"
        )
    if not isinstance(data["nodes"], dict):
        raise PrecisionMapError(f"{path}: `nodes` is not a mapping; give node: {{type, why}}")
    for name, entry in data["nodes"].items():
        _check(f"{path}, line {lines[str(name),]}", str(name), entry, linears)
    missing = [name for name in linears if name not in data["nodes"]]
    if missing:
        raise PrecisionMapError(
            f"{path}: {len(missing)} linears of {model} are missing, the first is {missing[0]!r}; "
            "add each with its type"
        )
    if all(entry["type"] != "int8" for entry in data["nodes"].values()):
        raise PrecisionMapError(f"{path}: no node is int8; build --precision fp32 instead")
    return {name: dict(data["nodes"][name]) for name in linears}


def _check(where: str, name: str, entry: Any, linears: PrecisionMap) -> None:
    if name not in linears:
        near = difflib.get_close_matches(name, linears, n=2, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else "remove it"
        raise PrecisionMapError(f"{where}: no linear of the graph is called {name!r}; {hint}")
    texts = isinstance(entry, dict) and all(isinstance(value, str) for value in entry.values())
    if not texts or set(entry) != {"type", "why"}:
        raise PrecisionMapError(f"{where}: {name} has {entry!r}, expected {{type: …, why: …}}")
    if entry["type"] not in _TYPES:
        raise PrecisionMapError(
            f"{where}: {name} has type {entry['type']!r}, expected {' or '.join(_TYPES)}"
        )
    obstacle = linears[name]
    if entry["type"] == "int8" and obstacle["type"] != "int8":
        raise PrecisionMapError(f"{where}: {name} cannot be int8 ({obstacle['why']}); make it fp32")


def _lines(path: Path, tree: Any) -> dict[tuple[str, ...], int]:
    """1-based line of each (node,), and of the model's name under ()."""
    lines: dict[tuple[str, ...], int] = {}
    for key, value in tree.value:
        if key.value == "model":
            lines[()] = value.start_mark.line + 1
        elif isinstance(value, yaml.MappingNode):
            for node, _ in value.value:
                line = node.start_mark.line + 1
                if (node.value,) in lines:
                    first = lines[node.value,]
                    raise PrecisionMapError(
                        f"{path}, line {line}: {node.value} is given again, first in line {first}; "
                        "keep one"
                    )
                lines[node.value,] = line
    return lines
