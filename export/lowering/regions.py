"""RoiAlign as a gather of pixels and arithmetic on their coordinates.

    x(k) = x1 + (x2 - x1) · (k + 1/2) / (bins · samples) - 1/2, y likewise
    Y = mean over the samples of each bin of  wx(i) · wy(j) · X[image, j, i]

Taps are floor(x) and floor(x) + 1, clipped to the map, with weights 1 - f and f; a sample more than
a pixel outside the map weighs nothing. Coordinates are float32, places in the images int64.

That is ONNX's definition (https://onnx.ai/onnx/operators/onnx__RoiAlign.html) of `half_pixel` and
`avg` with a set number of samples. TensorRT's parser takes the operator only where NVIDIA's own
plugin library is loaded, which a plan would then need wherever it runs. Maps of unknown size, other
modes and adaptive numbers of samples stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from export.lowering.arithmetic import Arithmetic
from export.lowering.emit import Dim, Emitter, replace
from export.lowering.rule import Rule

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


@dataclass(frozen=True)
class _Tap:
    """Along one axis: rows or columns of the map (int64) and their weights (float32)."""

    index: ir.Value
    weight: ir.Value


def _as_gathers(model: ir.Model) -> ir.Model:
    for node in list(model.graph):
        if node.op_type == "RoiAlign" and not node.domain and _is_plain(node):
            _lower(node)
    return model


def _is_plain(node: ir.Node) -> bool:
    features = node.inputs[0]
    if features is None or features.shape is None or features.dtype not in _FLOATS:
        return False
    return (
        all(isinstance(side, int) for side in list(features.shape)[1:])
        and node.attributes.get_string("mode", "avg") == "avg"
        and node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
        == "half_pixel"
        and node.attributes.get_int("sampling_ratio", 0) > 0
    )


def _lower(node: ir.Node) -> None:
    features, boxes, images = node.inputs
    assert features is not None and boxes is not None and images is not None
    assert features.shape is not None and features.dtype is not None
    _, channels, height, width = features.shape
    assert isinstance(channels, int) and isinstance(height, int) and isinstance(width, int)
    op = Arithmetic(Emitter(node))
    count: Dim = boxes.shape[0] if boxes.shape is not None else None
    last = op.emit.transpose(features, (0, 2, 3, 1), "channels_last")
    pixels = op("Reshape", last, [-1, channels], shape=[None, channels])
    corners = op.cast(boxes, ir.DataType.FLOAT)
    corners = op("Mul", corners, float(node.attributes.get_float("spatial_scale", 1.0) or 1.0))
    samples = node.attributes.get_int("sampling_ratio", 0) or 1
    bins = [node.attributes.get_int(f"output_{side}", 1) or 1 for side in ("height", "width")]
    rows, columns = bins[0] * samples, bins[1] * samples
    down = _taps(op, corners, 1, rows, height, count)
    across = _taps(op, corners, 0, columns, width, count)
    image = op("Mul", op.cast(images, ir.DataType.INT64), height * width, shape=[count])
    first = op("Unsqueeze", image, [1, 2], shape=[count, 1, 1])

    total: ir.Value | None = None
    for row in down:
        line = op("Mul", op("Unsqueeze", row.index, [2], shape=[count, rows, 1]), width)
        start = op("Add", first, line, shape=[count, rows, 1])
        for column in across:
            sampled: list[Dim] = [count, rows, columns]
            place = op("Unsqueeze", column.index, [1], shape=[count, 1, columns])
            term = op(
                "Gather", pixels, op("Add", start, place, shape=sampled),
                shape=[*sampled, channels], axis=0,
            )  # fmt: skip
            weight = op(
                "Mul", op("Unsqueeze", row.weight, [2, 3], shape=[count, rows, 1, 1]),
                op("Unsqueeze", column.weight, [1, 3], shape=[count, 1, columns, 1]),
                shape=[*sampled, 1],
            )  # fmt: skip
            term = op("Mul", term, op.cast(weight, features.dtype))
            total = term if total is None else op("Add", total, term)
    assert total is not None
    if samples > 1:
        parts = [bins[0], samples, bins[1], samples, channels]
        cut = op("Reshape", total, [-1, *parts], shape=[count, *parts])
        total = op("ReduceMean", cut, [2, 4], shape=[count, *bins, channels], keepdims=0)
    replace(node.outputs[0], op.emit.transpose(total, (0, 3, 1, 2), "channels_first"))
    op.emit.graph.remove(node, safe=True)


def _taps(
    op: Arithmetic, corners: ir.Value, axis: int, samples: int, length: int, count: Dim
) -> tuple[_Tap, _Tap]:
    """What is read along one axis of a map of `length`, (boxes, samples) each."""
    first = op("Gather", corners, [axis], shape=[count, 1], axis=1)
    extent = op("Sub", op("Gather", corners, [axis + 2], shape=[count, 1], axis=1), first)
    steps = op.emit.constant(
        (np.arange(samples, dtype=np.float32) + 0.5) / samples, f"steps.{axis}"
    )
    at = op("Add", op("Mul", extent, steps, shape=[count, samples]), first)
    at = op("Add", at, -0.5)
    near, far = op("GreaterOrEqual", at, -1.0), op("LessOrEqual", at, float(length))
    near.type = far.type = ir.TensorType(ir.DataType.BOOL)
    inside = op.cast(op("And", near, far), ir.DataType.FLOAT)
    at = op("Clip", at, 0.0, length - 1.0)
    low = op("Floor", at)
    high = op("Clip", op("Add", low, 1.0), 0.0, length - 1.0)
    share = op("Sub", at, low)
    rest = op("Add", op("Neg", share), 1.0)
    return (
        _Tap(op.cast(low, ir.DataType.INT64), op("Mul", rest, inside)),
        _Tap(op.cast(high, ir.DataType.INT64), op("Mul", share, inside)),
    )


REGIONS_AS_GATHERS = Rule("regions as gathers", _as_gathers)
