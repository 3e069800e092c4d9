"""The operators as nodes of Vitrine's TensorRT plugins, without their local functions.

    vitrine::FusedAttention(q, k, v, bias)  ->  VitrineFusedAttention(q, k, v[, bias])
    vitrine::WindowAttention(qkv, bias)     ->  VitrineWindowAttention(qkv, bias)

A bias that is nothing but zeros is left out, and one of fewer than four axes gets ones in front.
TensorRT's parser up to 10.6 prefers a local function to a plugin, so the bodies go; namespace and
version are written because 10.15 and later take a plugin only by them, and the operators' own
names stay free of the built-in ones, whose domain the parser ignores.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from calibration.linears import constant
from export.lowering.emit import Emitter
from export.lowering.rule import Rule
from export.operators import DOMAIN

NAMESPACE, PLUGIN_VERSION = "vitrine", "1"


def plugin_name(op_type: str) -> str:
    """The plugin of an operator."""
    return f"Vitrine{op_type}"


def _as_plugins(model: ir.Model) -> ir.Model:
    for node in list(model.graph):
        if node.domain == DOMAIN:
            _make_plugin(node)
    for identifier in [i for i in model.functions if i[0] == DOMAIN]:
        del model.functions[identifier]
    return model


def _make_plugin(node: ir.Node) -> None:
    if node.op_type == "FusedAttention":
        bias = _bias(Emitter(node), node.inputs[3])
        node.replace_input_with(3, bias)
        node.resize_inputs(3 if bias is None else 4)
    node.op_type = plugin_name(node.op_type)
    node.attributes["plugin_namespace"] = ir.AttrString("plugin_namespace", NAMESPACE)
    node.attributes["plugin_version"] = ir.AttrString("plugin_version", PLUGIN_VERSION)


def _bias(emit: Emitter, bias: ir.Value | None) -> ir.Value | None:
    """None of zeros alone, else on four axes."""
    array = constant(bias)
    if array is not None and not array.any():
        return None
    if bias is None or bias.shape is None or bias.shape.rank() == 4:
        return bias
    missing = 4 - bias.shape.rank()
    if array is not None:
        return emit.constant(array.reshape((1,) * missing + array.shape), "bias")
    axes = emit.constant(np.arange(missing), "bias.axes")
    return emit.op("Unsqueeze", [bias, axes], [*[1] * missing, *bias.shape], "bias")


PLUGIN_NODES = Rule("operators as TensorRT plugins", _as_plugins)
