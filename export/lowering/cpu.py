"""Lowering for CPU back ends: the operators as primitives, with what shapes make constant folded.

With fixed image sizes all index arithmetic, the shift mask and the window grid fold to constants.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from export.lowering.attention import KEYS_IN_TWO_STEPS
from export.lowering.constants import DROP_IDENTITIES
from export.lowering.heads import QUANTISED_HEADS
from export.lowering.merging import MERGING_AS_GATHER
from export.lowering.parts import CONCATENATED_PARTS
from export.lowering.permutations import MOVE_PERMUTATIONS
from export.lowering.relu import RELUS_UNSIGNED
from export.lowering.rule import Rule, applied
from export.lowering.unsigned import SHARED_ACTIVATIONS_UNSIGNED
from export.lowering.windows import WINDOWS_AS_PERMUTATIONS
from export.simplify import inline

RULES: tuple[Rule, ...] = (
    WINDOWS_AS_PERMUTATIONS,
    CONCATENATED_PARTS,
    MERGING_AS_GATHER,
    MOVE_PERMUTATIONS,
    Rule("operators as primitives", inline),
    DROP_IDENTITIES,
    RELUS_UNSIGNED,
    SHARED_ACTIVATIONS_UNSIGNED,
    KEYS_IN_TWO_STEPS,
    QUANTISED_HEADS,
)
"""In the order in which they are applied."""


def lowered(model: ir.Model, rules: Sequence[Rule] = RULES) -> ir.Model:
    """The typed portable graph in primitives; equal to it in every output.

    Args:
        model: left as it is.
        rules: in the order in which they are applied.
    """
    return applied(rules, model)
