"""Which nodes may leave float: patterns a person wrote, and what the structure says."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

PrecisionMap = dict[str, dict[str, str]]
"""Node name -> {"type": "int8" | "fp16" | "fp32", "why": reason}."""


NEGLIGIBLE = 1e-3
"""Share of the multiply-accumulates up to which the smallest linears stay float, all together.

In the last block of a ViT only the class token is left (export/dead_tokens.py): its output
projection, its MLP and the classifier are 0.06 % of a ViT-Tiny's work, and over half of the
squared error of its logits, as far as effects of single layers add up (ImageNet)."""


def negligible(macs: Mapping[str, int]) -> dict[str, str]:
    """The smallest linears, by which int8 saves next to no time, and why they stay float.

    Args:
        macs: Multiply-accumulates by linear.
    """
    total, used, found = sum(macs.values()), 0, dict[str, str]()
    for name in sorted(macs, key=lambda name: macs[name]):
        used += macs[name]
        if used > NEGLIGIBLE * total:
            break
        share = macs[name] / total
        found[name] = f"{share:.3%} of the multiply-accumulates: int8 saves no time worth its error"
    return found


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
