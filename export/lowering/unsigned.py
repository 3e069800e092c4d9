"""Activations that several linears read, as uint8.

    int8(x / s)  =  uint8(x / s + 128) - 128

saturates at the same values, so a zero point that is 128 higher changes no number. x86 multiplies
uint8 activations; ONNX Runtime makes the change itself where one linear reads an activation, and
runs linears that share an int8 activation in float instead (Swin-T, batch 8: 1.3 times the
time of the whole model). OpenVINO takes either.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from calibration.linears import constant
from export.lowering.emit import Emitter
from export.lowering.rule import Rule


def _unsigned(model: ir.Model) -> ir.Model:
    for node in list(model.graph):
        if node.op_type == "QuantizeLinear" and not node.domain:
            readers = [user for user, _ in node.outputs[0].uses()]
            if sum(len(reader.outputs[0].uses()) for reader in readers) > 1:
                _shift(node, readers)
    return model


def _shift(quantise: ir.Node, readers: list[ir.Node]) -> None:
    """Raises the zero point of a QuantizeLinear and of what dequantises it."""
    out = quantise.outputs[0]
    pair = [quantise, *readers]
    if out.is_graph_output() or any(r.op_type != "DequantizeLinear" for r in readers):
        return
    zeros = [constant(node.inputs[2]) if len(node.inputs) > 2 else None for node in pair]
    if any(zero is None or zero.dtype != np.int8 for zero in zeros):
        return
    for node, zero in zip(pair, zeros, strict=True):
        assert zero is not None
        raised = (zero.astype(np.int16) + 128).astype(np.uint8)
        node.replace_input_with(2, Emitter(node).constant(raised, "zero_point"))
    out.type = ir.TensorType(ir.DataType.UINT8)


SHARED_ACTIVATIONS_UNSIGNED = Rule("shared activations as uint8", _unsigned)
