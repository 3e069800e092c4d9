"""Which nodes may leave float: patterns a person wrote, and what the structure says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

PrecisionMap = dict[str, dict[str, str]]
"""Node name -> {"type": "int8" | "fp16" | "fp32", "why": reason}."""


def kept_float(names: Collection[str], patterns: Mapping[str, str]) -> dict[str, str]:
    """The nodes that patterns keep float.

    Args:
        names: Every node name of the graph.
        patterns: fnmatch pattern (case-sensitive, `*` crosses dots) -> reason.

    Returns:
        Node name -> reason, of the first pattern that matches.

    Raises:
        ValueError: A pattern matches no node, which is nearly always a misspelling.
    """
    kept: dict[str, str] = {}
    for pattern, why in patterns.items():
        matches = [name for name in names if fnmatchcase(name, pattern)]
        if not matches:
            raise ValueError(
                f"keep_float pattern {pattern!r} matches none of the {len(names)} nodes; "
                "correct or remove it"
            )
        for name in matches:
            kept.setdefault(name, why)
    return kept
