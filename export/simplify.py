"""Constant folding and clean-up of an exported graph."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import Sequential
from onnx_ir.passes import common as passes
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter import rewrite

# Weights are folded too (a Linear's transposed weight), so no size is too large.
_ANY_SIZE = 2**40


def simplify(model: ir.Model) -> ir.Model:
    """Folds constants and drops what nothing reads; the graph computes the same values.

    Local functions are kept. Equal initialisers stay apart, because scale migration rewrites
    weights one linear at a time.
    """
    for _ in range(2):  # a rewrite can make more constants
        fold_constants(
            model, onnx_shape_inference=True,
            input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE,
        )  # fmt: skip
        before = parts(model)
        model = rewrite(model)
        if parts(model) == before:
            break
    tidy = Sequential(
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.CommonSubexpressionEliminationPass(),
        passes.IdentityEliminationPass(),
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
        passes.OutputFixPass(),
        passes.NameFixPass(),
        passes.TopologicalSortPass(),
    )
    return tidy(model).model


def parts(model: ir.Model) -> list[object]:
    """Nodes, what they read and how, and constants; while these are the same, so is the graph."""
    found: list[object] = [value.const_value for value in model.graph.initializers.values()]
    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        for node in graph.all_nodes():
            found += [node, *node.inputs, *node.attributes.values()]
    return found


def inline(model: ir.Model) -> ir.Model:
    """Replaces every call of a local function by its body, in place."""
    return passes.InlinePass()(model).model
