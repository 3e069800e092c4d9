"""Names that an engineer recognises: a linear carries the module path of its weight."""

from __future__ import annotations

import onnx_ir as ir

LINEARS = frozenset({"MatMul", "Gemm", "Conv"})
_PREFIX = "model."  # of the module that wraps the reference during export


def name_linears(model: ir.Model) -> None:
    """Renames parameters and the linears that use them after the reference's modules, in place.

    Run before constants are folded: folding a weight's Transpose drops the parameter's name.
    """
    for value in list(model.graph.initializers.values()):
        if value.name and value.name.startswith(_PREFIX):
            value.name = value.name.removeprefix(_PREFIX)
    for node in model.graph:
        if node.op_type not in LINEARS:
            continue
        weight = node.inputs[1]
        producer = weight.producer() if weight is not None else None
        if producer is not None and producer.op_type == "Transpose":
            weight = producer.inputs[0]
        if weight is not None and weight.is_initializer() and weight.name:
            node.name = weight.name.removesuffix(".weight")


def name_weights(model: ir.Model) -> None:
    """Gives a folded weight (stored transposed for MatMul) its linear's name again, in place."""
    for node in model.graph:
        if node.op_type not in LINEARS or not node.name:
            continue
        weight = node.inputs[1]
        name = f"{node.name}.weight"
        if weight is None or not weight.is_initializer() or weight.name == name:
            continue
        if name not in model.graph.initializers:
            weight.name = name
