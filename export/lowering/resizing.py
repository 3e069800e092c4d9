"""Resize of known sizes, one axis after the other, as constants.

    linear, cubic:  Resize(x) = A_h · x · A_w          A of `interpolation`, of sizes (out, in)
    nearest:        Resize(x) = x gathered by constant rows and columns

TensorRT's parser knows no antialiasing and no cubic mode, and of the other modes five of seven
(onnx-tensorrt, docs/operators.md); where pixels lie is in the file now. Left as it is: enlarging by
whole numbers in the nearest, asymmetric, flooring form, which copies memory and is the same
everywhere; and what has no constants: sizes that follow the input, a crop, a policy on the aspect
ratio.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from calibration.linears import constant
from export.lowering.emit import Dim, Emitter, replace
from export.lowering.interpolation import Axis, coordinates, interpolation, nearest_rows
from export.lowering.rule import Rule

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def _as_constants(model: ir.Model) -> ir.Model:
    for node in list(model.graph):
        if node.op_type != "Resize" or node.domain or node.inputs[0] is None:
            continue
        axes = _axes(node)
        if axes is not None and not _is_safe(node, axes):
            _lower(node, axes)
    return model


def _axes(node: ir.Node) -> dict[int, Axis] | None:
    """The axes that change, by index; None where that or how they change is not known."""
    source, out = node.inputs[0], node.outputs[0]
    policy = node.attributes.get_string("keep_aspect_ratio_policy", "stretch")
    if source is None or source.shape is None or len(node.inputs) < 3 or policy != "stretch":
        return None
    if source.dtype not in _FLOATS and _mode(node) != "nearest":
        return None
    rank = source.shape.rank()
    listed = [i % rank for i in node.attributes.get_ints("axes") or range(rank)]
    scales, sizes = (constant(v) for v in (*node.inputs[2:], None, None)[:2])
    found = {}
    for place, i in enumerate(listed):
        length = source.shape[i]
        if scales is not None and scales.size:
            axis = _scaled(length, float(scales[place]))
        elif sizes is not None:
            axis = _sized(length, int(sizes[place]))
        else:  # the batch is among the sizes; shape inference knows the rest
            axis = None if out.shape is None else _sized(length, out.shape[i])
        if axis is None or _placed(node, axis) is None:
            return None
        if axis.scale != 1.0:  # one of 1.05 moves pixels even where it adds none
            found[i] = axis
    # Where no axis gets longer or shorter, ONNX Runtime and PyTorch copy, whatever the scales.
    return found if any(axis.resized != axis.length for axis in found.values()) else {}


_UNCHANGED = Axis(1, 1, 1.0)


def _scaled(length: Dim, factor: float) -> Axis | None:
    if factor == 1.0:
        return _UNCHANGED
    resized = int(np.floor(length * factor)) if isinstance(length, int) else 0
    return Axis(length, resized, factor) if isinstance(length, int) and resized else None


def _sized(length: Dim, resized: Dim) -> Axis | None:
    if isinstance(length, int) and isinstance(resized, int):
        return Axis(length, resized, resized / length)
    known = isinstance(length, ir.SymbolicDim) and length.value is not None
    return _UNCHANGED if known and length == resized else None


def _mode(node: ir.Node) -> str:
    return node.attributes.get_string("mode", "nearest") or ""


def _placed(node: ir.Node, axis: Axis) -> np.ndarray | None:
    mode = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    return coordinates(axis, mode or "")


def _is_safe(node: ir.Node, axes: dict[int, Axis]) -> bool:
    attributes = node.attributes
    return (
        _mode(node) == "nearest"
        and attributes.get_string("coordinate_transformation_mode", "half_pixel") == "asymmetric"
        and attributes.get_string("nearest_mode", "round_prefer_floor") == "floor"
        and all(axis.scale.is_integer() for axis in axes.values())
    )


def _lower(node: ir.Node, axes: dict[int, Axis]) -> None:
    emit, value = Emitter(node), node.inputs[0]
    attributes = node.attributes
    assert value is not None and value.shape is not None and value.dtype is not None
    kind, shape = value.dtype.numpy(), list(value.shape)
    mode = _mode(node)
    # The axes that shrink come first: the others then have less to do.
    for index, axis in sorted(axes.items(), key=lambda item: item[1].resized / item[1].length):
        x = _placed(node, axis)
        assert x is not None
        if mode == "nearest":
            rounding = attributes.get_string("nearest_mode", "round_prefer_floor")
            rows = nearest_rows(axis, x, rounding or "")
            value = emit.gather(value, rows, index, f"axis_{index}")
            continue
        cubic = attributes.get_float("cubic_coeff_a", -0.75) if mode == "cubic" else None
        flags = (bool(attributes.get_int(f, 0)) for f in ("antialias", "exclude_outside"))
        matrix = interpolation(axis, x, cubic, *flags)
        value = _product(emit, value, index, matrix.astype(kind))
    if not axes:
        value = emit.op("Identity", [value], shape, "copy")
    replace(node.outputs[0], value)
    emit.graph.remove(node, safe=True)


def _product(emit: Emitter, value: ir.Value, axis: int, matrix: np.ndarray) -> ir.Value:
    """The value times an (in, out) matrix along an axis."""
    assert value.shape is not None
    rank, name = value.shape.rank(), f"axis_{axis}"
    shape: list[Dim] = [matrix.shape[1] if i == axis else d for i, d in enumerate(value.shape)]
    if axis == rank - 2:
        left = emit.constant(np.ascontiguousarray(matrix.T), f"{name}.matrix")
        made = emit.op("MatMul", [left, value], shape, name)
        made.type = value.type
        return made
    right = emit.constant(matrix, f"{name}.matrix")
    if axis == rank - 1:
        return emit.op("MatMul", [value, right], shape, name)
    order = [i for i in range(rank) if i != axis] + [axis]
    last = emit.transpose(value, order, f"{name}.last")
    resized = emit.op("MatMul", [last, right], [shape[i] for i in order], name)
    return emit.transpose(resized, np.argsort(order).tolist(), f"{name}.back")


RESIZING_AS_PRODUCTS = Rule("resizing as constant products", _as_constants)
