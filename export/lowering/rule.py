"""What a lowering is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from export.simplify import parts, simplify


@dataclass(frozen=True)
class Rule:
    """One rewriting of a typed graph into an equal one that a back end runs faster.

    Attributes:
        name: what it does, in a few words; unique in a list of rules.
        apply: edits the model that it is given, or makes a new one; returns the result, which
            computes the same outputs up to the rounding of float operations.
    """

    name: str
    apply: Callable[[ir.Model], ir.Model]


def applied(rules: Sequence[Rule], model: ir.Model) -> ir.Model:
    """The graph after each rule in turn, simplified after the first and after each that changed it.

    Args:
        rules: in this order.
        model: left as it is.
    """
    graph, simplified = model.clone(), None
    for rule in rules:
        graph = rule.apply(graph)
        if parts(graph) != simplified:
            graph = simplify(graph)
            simplified = parts(graph)
    return graph
