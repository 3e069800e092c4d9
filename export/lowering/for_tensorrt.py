"""Lowering for TensorRT: one typed graph in the forms of attention that a device can try.

- "primitives": products and softmax, scale on the queries, which TensorRT fuses by itself.
- "plugin": Vitrine's own kernels, nodes that TensorRT finds in the plugin library.
- "onnx": ONNX's Attention, for parsers that know it (`ATTENTION_SINCE`).

Which is fastest differs between devices and versions, so a device measures them all. Operators of
which parsers know a part, or have a reading of their own, are written out as plainer ones (`SAFE`).
"""

from __future__ import annotations

import onnx_ir as ir

from export.lowering.constants import DROP_IDENTITIES
from export.lowering.merging import MERGING_AS_GATHER
from export.lowering.modulo import MODULO_AS_DIVISION
from export.lowering.onnx_attention import ONNX_ATTENTION
from export.lowering.parts import CONCATENATED_PARTS
from export.lowering.permutations import MOVE_PERMUTATIONS
from export.lowering.plugin_nodes import PLUGIN_NODES
from export.lowering.regions import REGIONS_AS_GATHERS
from export.lowering.resizing import RESIZING_AS_PRODUCTS
from export.lowering.rule import Rule, applied
from export.lowering.sampling import SAMPLING_AS_GATHERS
from export.lowering.window_heads import WINDOWS_AS_HEADS
from export.simplify import inline

ATTENTION_SINCE = (10, 14)
"""The first TensorRT whose parser knows ONNX's Attention."""

_IN_WINDOW_ORDER = (WINDOWS_AS_HEADS, CONCATENATED_PARTS, MERGING_AS_GATHER, MOVE_PERMUTATIONS)
_PRIMITIVES = Rule("operators as primitives", inline)

SAFE = (SAMPLING_AS_GATHERS, REGIONS_AS_GATHERS, RESIZING_AS_PRODUCTS, MODULO_AS_DIVISION)
"""Last of every form: constants are folded by then, and with them most index arithmetic."""

FORMS: dict[str, tuple[Rule, ...]] = {
    "primitives": (*_IN_WINDOW_ORDER, _PRIMITIVES, DROP_IDENTITIES, *SAFE),
    "plugin": (PLUGIN_NODES, DROP_IDENTITIES, *SAFE),
    "onnx": (*_IN_WINDOW_ORDER, ONNX_ATTENTION, _PRIMITIVES, DROP_IDENTITIES, *SAFE),
}
"""By name: the rules, in the order in which they are applied."""


def lowered_for_tensorrt(model: ir.Model, form: str) -> ir.Model:
    """The typed portable graph with one form of attention.

    Args:
        model: left as it is.
        form: of `FORMS`.
    """
    return applied(FORMS[form], model)
