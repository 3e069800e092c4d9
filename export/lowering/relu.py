"""What a ReLU returns, quantised to uint8: the same integers where int8 would use half its range.

What a ReLU returns quantises to 0 ... 127. OpenVINO's convolutions read uint8; an int8 tensor is
given to them as x + 128, which every kernel has to take back. As uint8 with zero point 0, integers,
scales and results stay the same and that work is gone. Where int8 would clip at 127, the ReLU does:
it becomes a Clip to 0 ... 127 steps.

Maximum and quantisation commute, so the quantiser of a MaxPool's output moves before it, where it
is part of the Conv, and the pooling moves a quarter of the bytes. Only as uint8: with int8 values
there, OpenVINO 2026.4 returned other maxima than ONNX Runtime (DETR-R50: cosine 0.84).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from calibration.linears import add_constant, constant
from export.lowering.rule import Rule


def _unsigned(model: ir.Model) -> ir.Model:
    for quantise in [node for node in model.graph if node.op_type == "QuantizeLinear"]:
        restore = _only_reader(quantise.outputs[0], "DequantizeLinear")
        if restore is None or not _is_int8(quantise):
            continue
        pool, relu = _above(quantise, "MaxPool"), _above(quantise, "Relu")
        if pool is not None:
            relu = _above(pool, "Relu")
        if relu is None:
            continue
        if pool is not None:
            _move_before(pool, quantise, restore)
        _store_unsigned(model.graph, relu, quantise, restore)
    return model


def _is_int8(quantise: ir.Node) -> bool:
    """Symmetric, with one scale for the whole tensor."""
    scale, zero = constant(quantise.inputs[1]), constant(quantise.inputs[2])
    if scale is None or zero is None or scale.size != 1:
        return False
    return zero.dtype == np.int8 and not zero.any()


def _above(node: ir.Node, kind: str) -> ir.Node | None:
    """The node of a kind that feeds this one and nothing else."""
    value = node.inputs[0]
    source = None if value is None else value.producer()
    if value is None or source is None or source.op_type != kind or source.domain:
        return None
    return source if len(value.uses()) == 1 and not value.is_graph_output() else None


def _only_reader(value: ir.Value, kind: str) -> ir.Node | None:
    nodes = [node for node, _ in value.uses()]
    return nodes[0] if len(nodes) == 1 and nodes[0].op_type == kind else None


def _move_before(pool: ir.Node, quantise: ir.Node, restore: ir.Node) -> None:
    """relu -> pool -> Q -> DQ becomes relu -> Q -> DQ -> pool."""
    source, restored = pool.inputs[0], restore.outputs[0]
    graph = pool.graph
    assert source is not None and isinstance(graph, ir.Graph)
    ir.convenience.replace_all_uses_with(restored, pool.outputs[0], replace_graph_outputs=True)
    quantise.replace_input_with(0, source)
    pool.replace_input_with(0, restored)
    quantise.outputs[0].shape = restored.shape = source.shape
    graph.remove([quantise, restore])
    graph.insert_before(pool, [quantise, restore])


def _store_unsigned(graph: ir.Graph, relu: ir.Node, quantise: ir.Node, restore: ir.Node) -> None:
    scale = constant(quantise.inputs[1])
    assert scale is not None
    name = f"{quantise.name}.unsigned"
    most = np.asarray(127 * scale)
    constants = {"low": np.zeros_like(most), "high": most, "zero": np.zeros((), np.uint8)}
    values = {key: add_constant(graph, f"{name}.{key}", a) for key, a in constants.items()}
    output = relu.outputs[0]
    clip = ir.node("Clip", [relu.inputs[0], values["low"], values["high"]], name=str(relu.name))
    clip.outputs[0].name = output.name
    clip.outputs[0].type, clip.outputs[0].shape = output.type, output.shape
    graph.insert_before(relu, clip)
    ir.convenience.replace_all_uses_with(output, clip.outputs[0])
    graph.remove(relu, safe=True)
    for node in (quantise, restore):
        node.replace_input_with(2, values["zero"])
    quantise.outputs[0].type = ir.TensorType(ir.DataType.UINT8)


RELUS_UNSIGNED = Rule("outputs of ReLUs as uint8", _unsigned)
