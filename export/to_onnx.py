"""A reference module as one portable ONNX graph: dynamic batch, `vitrine` operators kept."""

from __future__ import annotations

import copy
import logging
import warnings
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

OPSET = 20  # the highest that TensorRT 10.3 (JetPack 6) reads


class NamedOutputs(nn.Module):
    """Calls the reference by keyword and returns its named outputs as a tuple."""

    def __init__(self, model: nn.Module, outputs: tuple[str, ...]) -> None:
        """Args: model: a `transformers` reference; outputs: names of what it returns."""
        super().__init__()
        self.model, self.outputs = model, outputs

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor | None = None) -> Any:
        """The named outputs for (B, 3, H, W) pixels and, of ragged families, a (B, H, W) mask."""
        extra = {} if pixel_mask is None else {"pixel_mask": pixel_mask}
        result = self.model(pixel_values=pixel_values, **extra)
        return tuple(result[name] for name in self.outputs)


# The exporter reads these annotations; `from __future__ import annotations` is fine with it.
def _fused_attention(query: Any, key: Any, value: Any, bias: Any, scale: float) -> Any:
    inputs = (query, key, value) if bias is None else (query, key, value, bias)
    return caller("FusedAttention")(*inputs, scale=scale)


def _window_attention(
    qkv: Any, bias: Any, window: int, shift: int, heads: int, scale: float
) -> Any:
    call = caller("WindowAttention")
    return call(qkv, bias, window=window, shift=shift, heads=heads, scale=scale)


def onnx_from_module(reference: nn.Module, family: Family, height: int, width: int) -> ir.Model:
    """Exports an eval-mode reference module; the module itself is left as it was.

    Args:
        reference: the family's `transformers` module, float32, in eval mode.
        family: how the family is exported.
        height: image height in pixels that the trace uses; fixed in the graph unless the
            family is ragged.
        width: likewise.

    Returns:
        A model of opset 20 with inputs `pixel_values` (batch, 3, height, width) and, for ragged
        families, `pixel_mask` (batch, height, width) int64; outputs as `family.outputs`.
    """
    model = copy.deepcopy(reference).eval()
    family.use_operators(model)
    wrapped = NamedOutputs(model, family.outputs).eval()
    batch = torch.export.Dim("batch", min=1)
    inputs: dict[str, Tensor] = {"pixel_values": torch.zeros(2, 3, height, width)}
    shapes: dict[str, dict[int, Any]] = {"pixel_values": {0: batch}}
    if family.ragged:
        axes = {0: batch, 2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
        inputs["pixel_mask"] = torch.ones(2, height, width, dtype=torch.int64)
        shapes = {"pixel_values": axes, "pixel_mask": {0: axes[0], 1: axes[2], 2: axes[3]}}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            wrapped, (), kwargs=inputs, dynamo=True, opset_version=OPSET, optimize=False,
            verbose=False, input_names=list(inputs), output_names=list(family.outputs),
            dynamic_shapes=shapes,
            custom_translation_table={
                torch.ops.vitrine.fused_attention.default: _fused_attention,
                torch.ops.vitrine.window_attention.default: _window_attention,
            },
        )  # fmt: skip
    assert program is not None
    graph = program.model
    _attach_functions(graph)
    name_linears(graph)
    graph = simplify(drop_dead_tokens(simplify(graph)))
    restore_names(graph)
    name_attentions(graph)
    return graph


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
