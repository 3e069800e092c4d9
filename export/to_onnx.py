"""A reference module as one portable ONNX graph: dynamic batch, `vitrine` operators kept."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn

import export.attention  # noqa: F401  registers `torch.ops.vitrine`
from export.dead_tokens import drop_dead_tokens
from export.graph_names import name_attentions, name_linears, restore_names
from export.operators import DOMAIN, VERSION, caller, local_functions
from export.simplify import simplify
from export.zoo.family import Family
from runtime.preparation import Preparation

OPSET = 20  # the highest that TensorRT 10.3 (JetPack 6) reads


class Positional(nn.Module):
    """Takes the inputs as a tuple, which the exporter can name, and so returns the outputs."""

    def __init__(self, model: nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Args: model: called by keyword, returns outputs by name; inputs, outputs: names."""
        super().__init__()
        self.model, self.inputs, self.outputs = model, tuple(inputs), tuple(outputs)

    def forward(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The outputs for the inputs, both in the order of their names."""
        result = self.model(**dict(zip(self.inputs, tensors, strict=True)))
        return tuple(result[name] for name in self.outputs)


def example_inputs(preprocess: Preparation) -> dict[str, Tensor]:
    """Inputs to trace a model with, two of everything: what preprocessing makes of its example."""
    batch = preprocess([preprocess.example] * 2)
    return {name: torch.from_numpy(array) for name, array in batch.inputs.items()}


# The exporter reads these annotations; `from __future__ import annotations` is fine with it.
def _fused_attention(query: Any, key: Any, value: Any, bias: Any, scale: float) -> Any:
    inputs = (query, key, value) if bias is None else (query, key, value, bias)
    return caller("FusedAttention")(*inputs, scale=scale)


def _window_attention(
    qkv: Any, bias: Any, window: int, shift: int, heads: int, scale: float
) -> Any:
    call = caller("WindowAttention")
    return call(qkv, bias, window=window, shift=shift, heads=heads, scale=scale)


def onnx_from_module(
    reference: nn.Module, family: Family, inputs: Mapping[str, Tensor]
) -> ir.Model:
    """Exports an eval-mode reference module; the module itself is left as it was.

    Args:
        reference: the family's reference module, float32, in eval mode.
        family: how the family is exported.
        inputs: to trace it with, by name, with a batch axis of at least 2; the lengths of the
            other axes are fixed in the graph, but an image's of a ragged family.

    Returns:
        A model of opset 20 with these inputs, whose first axis is "batch"; outputs as
        `family.outputs`.
    """
    model = copy.deepcopy(reference).eval()
    family.use_operators(model)
    wrapped = Positional(family.main(model), tuple(inputs), family.outputs).eval()
    shapes = tuple(_axes(name, family.ragged) for name in inputs)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            wrapped, (tuple(inputs.values()),), dynamo=True, opset_version=OPSET, optimize=False,
            verbose=False, input_names=list(inputs), output_names=list(family.outputs),
            dynamic_shapes=(shapes,),
            custom_translation_table={
                torch.ops.vitrine.fused_attention.default: _fused_attention,
                torch.ops.vitrine.window_attention.default: _window_attention,
            },
        )  # fmt: skip
    assert program is not None
    graph = program.model
    _check_axes(graph)
    _attach_functions(graph)
    name_linears(graph)
    graph = simplify(drop_dead_tokens(simplify(graph)))
    restore_names(graph)
    name_attentions(graph)
    return graph


def _check_axes(graph: ir.Model) -> None:
    """The exporter falls back to fixed lengths where a module reads one as a number."""
    for value in graph.graph.inputs:
        if value.shape is None or isinstance(value.shape[0], int):
            raise ValueError(
                f"the graph's {value.name} is {value.shape}, expected a batch of any size; the "
                "module takes a length for a number (`len(x)` does, `x.shape[0]` does not)"
            )


def _axes(name: str, ragged: bool) -> dict[int, Any]:
    """The axes of an input that may have any length."""
    names = {0: "batch"}
    if ragged:
        first = {"pixel_values": 2, "pixel_mask": 1}[name]
        names |= {first: "height", first + 1: "width"}
    return {axis: torch.export.Dim(name, min=1) for axis, name in names.items()}


def _attach_functions(model: ir.Model) -> None:
    """Adds the bodies of the operators that the graph calls.

    A function body cannot have an input left out, so a FusedAttention without a bias gets a
    zero one; lowering to primitives drops it again.
    """
    bodies = local_functions()
    calls = [node for node in model.graph if node.domain == DOMAIN]
    zero: ir.Value | None = None
    for node in calls:
        if node.op_type == "FusedAttention" and len(node.inputs) == 3:
            if zero is None:
                zero = ir.Value(name="no_attention_bias", const_value=ir.tensor([0.0]))
                zero.shape, zero.type = ir.Shape([1]), ir.TensorType(ir.DataType.FLOAT)
                model.graph.register_initializer(zero)
            node.resize_inputs(4)
            node.replace_input_with(3, zero)
    for op_type in sorted({node.op_type for node in calls}):
        function = bodies[op_type]
        model.functions[function.identifier()] = function
    model.opset_imports[DOMAIN] = VERSION
