"""Names that an engineer recognises: a linear carries the module path of its weight."""

from __future__ import annotations

import onnx_ir as ir

from export.operators import DOMAIN

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


def name_attentions(model: ir.Model) -> None:
    """Names each attention operator after the module of the linear that computes its queries.

    Run after linears have their names; an operator on something else keeps its own.
    """
    taken = {node.name for node in model.graph}
    for node in model.graph:
        if node.domain != DOMAIN or node.inputs[0] is None:
            continue
        source = node.inputs[0].producer()
        while source is not None and source.op_type not in LINEARS and source.inputs[0] is not None:
            source = source.inputs[0].producer()
        module = str(source.name).rpartition(".")[0] if source is not None else ""
        name = module if module.endswith(("attention", "attn")) else f"{module}.attention"
        if module and name not in taken:
            node.name = name
            taken.add(name)


def restore_names(model: ir.Model) -> None:
    """Names again what simplification made anew, in place: weights that were folded (MatMul's are
    stored transposed) after their linear, and rewritten linears after their weight.
    """
    for node in model.graph:
        weight = node.inputs[1] if node.op_type in LINEARS else None
        if weight is None or not weight.is_initializer() or not node.name:
            continue
        if str(weight.name).endswith(".weight"):
            node.name = str(weight.name).removesuffix(".weight")
        elif f"{node.name}.weight" not in model.graph.initializers:
            weight.name = f"{node.name}.weight"
