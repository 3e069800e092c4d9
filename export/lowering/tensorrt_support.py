"""What TensorRT's parser takes, checked before a graph leaves for a device.

Operators and types are those of onnx-tensorrt's support matrix (docs/operators.md, release 10.1;
later releases only add), Q/DQ the rules of its QuantDequantLinearHelper: symmetric int8, zero
points zero, the axis of a vector of scales written. Passing says that the parser will not refuse
an operator, not that the engine is right or fast.
"""

from __future__ import annotations

import onnx_ir as ir

from calibration.linears import constant
from export.operators import DOMAIN

_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
_NUMBERS = _FLOATS | {ir.DataType.INT32, ir.DataType.INT64}
_ANY = _NUMBERS | {ir.DataType.BOOL}
_BY_TYPES = {
    _FLOATS: (
        "Attention AveragePool Ceil Clip Conv ConvTranspose Cos CumSum Einsum Elu Erf Exp Floor "
        "Gelu Gemm GlobalAveragePool GridSample GroupNormalization InstanceNormalization "
        "LayerNormalization Log MatMul Pow Reciprocal Resize Round Sigmoid Sin Softmax Softplus "
        "Sqrt Tanh"
    ),
    _NUMBERS: (
        "Abs Add ArgMax ArgMin Div Equal Greater GreaterOrEqual Less LessOrEqual Max MaxPool Min "
        "Mod Mul Neg Pad Range ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu ScatterND "
        "Sign Sub TopK"
    ),
    _ANY: (
        "Cast Concat Constant ConstantOfShape Expand Flatten Gather GatherElements GatherND "
        "Identity Not Or And Reshape Shape Slice Split Squeeze Tile Transpose Trilu Unsqueeze Where"
    ),
}
_TAKES = {name: types for types, names in _BY_TYPES.items() for name in names.split()}


def check_supported(model: ir.Model, opset: int) -> None:
    """Refuses a lowered graph that TensorRT's parser would refuse.

    Args:
        model: of a form of `export.lowering.for_tensorrt`, with inferred types.
        opset: the highest of ONNX that the parser reads.

    Raises:
        ValueError: names the opset, or the first such node and why.
    """
    found = model.graph.opset_imports[""]
    if found > opset:
        raise ValueError(
            f"the graph is of opset {found}, the target's parser reads up to {opset}; build for a "
            "target with a newer TensorRT, or with --target cpu"
        )
    for node in model.graph:
        why = _obstacle(node)
        if why:
            raise ValueError(
                f"TensorRT would refuse node {node.name!r}: {why}; build with --target cpu, or "
                "give the operator a form that TensorRT takes in export/lowering"
            )


def _obstacle(node: ir.Node) -> str:
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return _quantisation(node)
    if node.domain == DOMAIN and "plugin_namespace" in node.attributes:
        return ""
    if node.domain or node.op_type not in _TAKES:
        return f"it knows no operator {node.domain or 'ai.onnx'}::{node.op_type}"
    first = next((value for value in node.inputs if value is not None), None)
    if first is not None and first.dtype is not None and first.dtype not in _TAKES[node.op_type]:
        return f"its {node.op_type} takes no {first.dtype.name}"
    if node.op_type == "GridSample" and first is not None and first.shape is not None:
        return "" if first.shape.rank() == 4 else "its GridSample takes four axes only"
    if node.op_type == "Resize":
        if node.attributes.get_int("antialias", 0):
            return "its Resize has no antialiasing"
        if node.attributes.get_string("mode", "nearest") == "cubic":
            return "its Resize has no cubic mode"
    return ""


def _quantisation(node: ir.Node) -> str:
    scale = constant(node.inputs[1])
    zero = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if zero is None:
        return "without a zero point ONNX means uint8 and TensorRT int8"
    if zero.dtype.name != "int8" or zero.any():
        return f"it quantises symmetrically in int8, found a zero point of {zero.dtype.name}"
    if scale is None or not (scale > 0).all():
        return "scales are to be positive constants"
    if scale.ndim and "axis" not in node.attributes:
        return "the axis of a vector of scales is to be written"
    return ""
