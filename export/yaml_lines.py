"""Where a YAML document says what: lines for messages, and keys that it gives twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml


def refuse_duplicates(node: Any) -> None:
    """Raises ValueError where a key is given twice; the loader would take the last."""
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in first:
                raise ValueError(
                    f"line {line}: `{key.value}` is given again, first in line "
                    f"{first[key.value]}; keep one"
                )
            first[key.value] = line
            refuse_duplicates(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            refuse_duplicates(value)


def line_of(node: Any, keys: tuple[str, ...]) -> int:
    """1-based line of the deepest of `keys` that the document has under `node`."""
    line: int = node.start_mark.line + 1
    for key in keys:
        pairs = [(k, v) for k, v in _entries(node) if k.value == key]
        if not pairs:
            break
        line, node = pairs[0][0].start_mark.line + 1, pairs[0][1]
    return line


def _entries(node: Any) -> Iterator[tuple[Any, Any]]:
    """A mapping's keys and values, its own before those it merges with `<<`; a list's items."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield yaml.ScalarNode("", str(index), item.start_mark), item
    if isinstance(node, yaml.MappingNode):
        yield from node.value
        for key, value in node.value:
            if key.value == "<<":
                yield from _entries(value)
