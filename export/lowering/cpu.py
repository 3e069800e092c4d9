"""Lowering for CPU back ends: the operators as primitives, with what shapes make constant folded.

With fixed image sizes all index arithmetic, the shift mask and the window grid fold to constants.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from export.lowering.columns import SPLIT_LINEARS
from export.lowering.constants import DROP_IDENTITIES, JOIN_ADDITIONS
from export.lowering.merging import MERGING_AS_GATHER
from export.lowering.patches import PATCHES_AS_LINEAR
from export.lowering.permutations import MOVE_PERMUTATIONS
from export.lowering.rule import Rule
from export.lowering.unsigned import SHARED_ACTIVATIONS_UNSIGNED
from export.lowering.windows import WINDOWS_AS_PERMUTATIONS
from export.simplify import inline, simplify

RULES: tuple[Rule, ...] = (
    WINDOWS_AS_PERMUTATIONS,
    MERGING_AS_GATHER,
    PATCHES_AS_LINEAR,
    MOVE_PERMUTATIONS,
    SPLIT_LINEARS,
    Rule("operators as primitives", inline),
    DROP_IDENTITIES,
    JOIN_ADDITIONS,
    SHARED_ACTIVATIONS_UNSIGNED,
)
"""In the order in which they are applied."""


def lowered(model: ir.Model, rules: Sequence[Rule] = RULES) -> ir.Model:
    """The typed portable graph in primitives; equal to it in every output.

    Args:
        model: left as it is.
        rules: applied one after the other; constants are folded after each.
    """
    graph = model.clone()
    for rule in rules:
        graph = simplify(rule.apply(graph))
    return graph
