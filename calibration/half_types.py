"""What float16 means for one node: what forbids it, which inputs keep their type, attributes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir

from calibration.magnitudes import HALF_MAX

_SUMS = "sums, squares or counts: float16 loses digits or overflows inside"
_FLOAT32_OPERATORS = {
    "LayerNormalization": "its statistics need float32, and types are what every back end obeys",
    "InstanceNormalization": _SUMS,
    "GroupNormalization": _SUMS,
    "ReduceMean": _SUMS,
    "ReduceSum": _SUMS,
    "ReduceSumSquare": _SUMS,
    "ReduceL2": _SUMS,
    "Pow": _SUMS,
    "CumSum": _SUMS,
    "Sin": "an angle's digits are lost in float16",
    "Cos": "an angle's digits are lost in float16",
}
# At an edge float16 has steps of 2^-11: a twentieth of a pixel at 224 pixels, a whole one at 4096.
_COORDINATES = {"GridSample": frozenset({1})}
_TYPED_BY_ATTRIBUTE = frozenset({"RandomNormal", "RandomUniform", "EyeLike", "Bernoulli"})


def obstacle(node: ir.Node, model: ir.Model) -> str | None:
    """Why the operator itself must stay float32; None when float16 is possible."""
    function = model.functions.get(node.op_identifier())
    if function is not None:
        return None if _is_generic(function) else "its function body is written for float32"
    if node.domain:
        return f"nothing is known about operators of domain {node.domain!r}"
    if node.op_type in _FLOAT32_OPERATORS:
        return _FLOAT32_OPERATORS[node.op_type]
    if node.op_type in _TYPED_BY_ATTRIBUTE:
        return "its type is an attribute"
    schema = _schema(node, model)
    for index, value in enumerate(node.outputs):
        is_float = value.dtype == ir.DataType.FLOAT
        if is_float and not _takes_half(schema, schema.outputs, index):
            return f"{node.op_type} has no float16 form"
    return None


def constant_obstacle(array: np.ndarray) -> str | None:
    """Why a float32 constant has no float16 counterpart; None when it has one.

    Large negative numbers are masks and are clamped. Among many numbers those that vanish
    contribute nothing; a lone one (an epsilon, a factor) may decide everything.
    """
    finite = array[np.isfinite(array)]
    if finite.size and float(finite.max()) > HALF_MAX:
        return f"its constant {float(finite.max()):.3g} overflows float16"
    if array.size == 1 and finite.size:
        exact = float(finite.reshape(()))
        if exact and exact > -HALF_MAX and abs(float(np.float16(exact)) / exact - 1.0) > 0.01:
            return f"its constant {exact:.3g} underflows float16"
    return None


def to_float16(array: np.ndarray) -> np.ndarray:
    """Rounds to float16; finite numbers below -65504 become -65504, minus infinity stays."""
    kept = np.where(np.isneginf(array), array, np.maximum(array, -HALF_MAX))
    return np.asarray(kept.astype(np.float16))


def fixed_inputs(node: ir.Node, model: ir.Model) -> frozenset[int]:
    """Indices of the inputs that are float32 whatever the node's type (such as Resize's scales)."""
    if node.op_identifier() in model.functions:
        return frozenset()
    schema = _schema(node, model)
    indices = range(len(node.inputs))
    fixed = frozenset(i for i in indices if not _takes_half(schema, schema.inputs, i))
    return fixed | _COORDINATES.get(node.op_type, frozenset())


def retype(node: ir.Node) -> None:
    """Makes a node's float32 outputs float16, and the attributes that say so."""
    if node.op_type == "Cast" and node.outputs[0].dtype == ir.DataType.FLOAT:
        node.attributes["to"] = ir.AttrInt64("to", int(ir.DataType.FLOAT16))
    if node.op_type == "ConstantOfShape":
        value = node.attributes.get("value")
        old = np.zeros(1, np.float32) if value is None else value.as_tensor().numpy()
        if old.dtype == np.float32:
            node.attributes["value"] = ir.AttrTensor("value", ir.tensor(to_float16(old)))
    for output in node.outputs:
        if output.dtype == ir.DataType.FLOAT:
            output.type = ir.TensorType(ir.DataType.FLOAT16)


def _is_generic(function: ir.Function) -> bool:
    """Whether a body takes the type of its inputs: float constants only as CastLike's operand."""
    for node in function:
        if node.op_type == "Cast" and node.attributes.get_int("to", 0) == ir.DataType.FLOAT:
            return False
        floats = {"value_float", "value_floats"} & set(node.attributes)
        tensor = node.attributes.get("value") if node.op_type == "Constant" else None
        if tensor is not None and not tensor.is_ref():
            floats |= {"value"} if tensor.as_tensor().dtype == ir.DataType.FLOAT else set()
        if node.op_type == "Constant" and floats:
            uses = node.outputs[0].uses()
            if any(use.node.op_type != "CastLike" or use.idx != 0 for use in uses):
                return False
    return True


def _schema(node: ir.Node, model: ir.Model) -> onnx.defs.OpSchema:
    version = node.version or model.graph.opset_imports[""]
    return onnx.defs.get_schema(node.op_type, version, "")


def _takes_half(
    schema: onnx.defs.OpSchema, parameters: Sequence[onnx.defs.OpSchema.FormalParameter], index: int
) -> bool:
    """Whether the formal parameter at `index` (the last may be variadic) allows float16."""
    kind = parameters[min(index, len(parameters) - 1)].type_str
    for constraint in schema.type_constraints:
        if constraint.type_param_str == kind:
            return "tensor(float16)" in constraint.allowed_type_strs
    return kind == "tensor(float16)"
