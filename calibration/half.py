"""FP16 lowering: float16 is written into the graph as types, initialisers and casts.

Graph inputs and outputs stay float32. A node stays float32 when calibration images drive one of
its tensors near float16's largest value, when a constant of it has no float16 counterpart, or
when its operator sums, squares or counts (LayerNormalization: whether a back end honours the
operator's own promise of float32 statistics is not visible in the graph, a cast is). Casts stand
where the types meet, one for each tensor and type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from calibration.activations import Batches
from calibration.half_types import constant_obstacle, fixed_inputs, obstacle, retype, to_float16
from calibration.linears import add_constant, constant, private_copy
from calibration.magnitudes import HALF_MAX, peaks
from calibration.precision import PrecisionMap

SAFE_PEAK = HALF_MAX / 4
"""Other images may be that much larger than the calibration images before float16 overflows."""

_LINEAR = frozenset({"MatMul", "Gemm"})
_LAST_STEPS = frozenset({"Add", "Sigmoid", "Softmax", "Identity", "Squeeze", "Mul"})
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16)


@dataclass(frozen=True)
class Half:
    """A graph in float16 where that is safe.

    Attributes:
        model: The typed graph; its inputs and outputs are float32.
        precision_map: For every node that computes floats, "fp16" or "fp32" and why.
    """

    model: ir.Model
    precision_map: PrecisionMap


def half_from_onnx(model: ir.Model, batches: Batches, threads: int | None = None) -> Half:
    """Lowers a float32 graph, or a Q/DQ graph with float32 scales, to float16.

    Args:
        model: Left as it is.
        batches: Calibration inputs; every image is run once.
        threads: ONNX Runtime threads; None means all cores.

    Raises:
        ValueError: No images, or control flow (If, Loop, Scan), whose bodies are not typed here.
    """
    copy = private_copy(model)
    for node in copy.graph:
        kinds = {attribute.type for attribute in node.attributes.values()}
        if kinds & {ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS}:
            raise ValueError(
                f"node {node.name!r} ({node.op_type}) has a subgraph, which FP16 lowering does "
                "not type; export without control flow or build fp32"
            )
    ShapeInferencePass()(copy)
    return _Lowering(copy, peaks(copy, batches, threads)).run()


class _Lowering:
    """One run over a private copy, in graph order, so that every input's type is known."""

    def __init__(self, model: ir.Model, node_peaks: Mapping[str, float]) -> None:
        self.model = model
        self.graph = model.graph
        self.peaks = node_peaks
        self.last_steps = _last_steps(model.graph)
        self.precision_map: PrecisionMap = {}
        self.converted: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def run(self) -> Half:
        """Lowers every node, then restores the output types."""
        for node in list(self.graph):
            if any(v is not None and v.dtype in _FLOATS for v in (*node.inputs, *node.outputs)):
                self._lower(node)
        for index, value in enumerate(self.graph.outputs):
            if value.dtype == ir.DataType.FLOAT16:
                self._restore_output(index, value)
        self._drop_unused()
        return Half(self.model, self.precision_map)

    def _lower(self, node: ir.Node) -> None:
        kind, why = self._decide(node)
        half = kind == ir.DataType.FLOAT16
        self.precision_map[str(node.name)] = {"type": "fp16" if half else "fp32", "why": why}
        fixed = fixed_inputs(node, self.model) if half else frozenset()
        for index, value in enumerate(node.inputs):
            if value is None or value.dtype not in _FLOATS:
                continue
            wanted = ir.DataType.FLOAT if index in fixed else kind
            if value.dtype != wanted:
                node.replace_input_with(index, self._as(value, wanted, node))
        if half:
            retype(node)

    def _decide(self, node: ir.Node) -> tuple[ir.DataType, str]:
        """The float type of a node and the reason."""
        if node.op_type == "QuantizeLinear" and node.inputs[0] is not None:
            # It reads any float type: following its input saves a cast.
            kind = node.inputs[0].dtype or ir.DataType.FLOAT
            return kind, "quantises what it is given"
        if node in self.last_steps:
            return ir.DataType.FLOAT, "computes the answer, whose digits decide between near ties"
        why = obstacle(node, self.model)
        if why is not None:
            return ir.DataType.FLOAT, why
        names = [str(node.name)]
        for value in node.inputs:
            array = constant(value)
            if array is not None and array.dtype == np.float32:
                why = constant_obstacle(array)
                if why is not None:
                    return ir.DataType.FLOAT, why
            elif value is not None:
                producer = value.producer()
                names.append(str(value.name if producer is None else producer.name))
        peak = max(self.peaks.get(name, 0.0) for name in names)
        if not peak <= SAFE_PEAK:
            return ir.DataType.FLOAT, f"values up to {peak:.3g} on calibration images"
        return ir.DataType.FLOAT16, f"values up to {peak:.3g} fit"

    def _as(self, value: ir.Value, wanted: ir.DataType, reader: ir.Node) -> ir.Value:
        """`value` in another float type: a converted initialiser, or a Cast before `reader`."""
        known = self.converted.get((value, wanted))
        if known is not None:
            return known
        array = constant(value)
        if array is not None:
            result = add_constant(self.graph, f"{value.name}.fp16", to_float16(array))
            result.type, result.shape = ir.TensorType(wanted), ir.Shape(array.shape)
        else:
            suffix = "fp16" if wanted == ir.DataType.FLOAT16 else "fp32"
            cast = ir.node("Cast", [value], {"to": int(wanted)}, name=f"{value.name}.to_{suffix}")
            result = cast.outputs[0]
            result.name, result.shape = f"{value.name}.{suffix}", value.shape
            result.type = ir.TensorType(wanted)
            self.graph.insert_before(reader, cast)
        self.converted[value, wanted] = result
        return result

    def _restore_output(self, index: int, value: ir.Value) -> None:
        """Casts a graph output back to float32 under its own name."""
        name = str(value.name)
        value.name = f"{name}.fp16"
        cast = ir.node("Cast", [value], {"to": int(ir.DataType.FLOAT)}, name=f"{name}.to_fp32")
        output = cast.outputs[0]
        output.name, output.shape = name, value.shape
        output.type = ir.TensorType(ir.DataType.FLOAT)
        self.graph.append(cast)
        self.graph.outputs[index] = output

    def _drop_unused(self) -> None:
        """Removes float32 initialisers that nobody reads; their float16 twin takes the name."""
        initializers = self.graph.initializers
        for value in list(initializers.values()):
            if value.uses() or value.is_graph_output():
                continue
            name = str(value.name)
            del initializers[name]
            twin = self.converted.get((value, ir.DataType.FLOAT16))
            if twin is not None:
                del initializers[str(twin.name)]
                twin.name = name
                self.graph.register_initializer(twin)


def _last_steps(graph: ir.Graph) -> set[ir.Node]:
    """The nodes from the last linear to each output: few operations, but they set its digits.

    Logits of 8 to 16 are multiples of 1/128 in float16, so that close classes tie.
    """
    found: set[ir.Node] = set()
    pending = [value.producer() for value in graph.outputs]
    while pending:
        node = pending.pop()
        if node is None or node in found or node.op_type not in _LAST_STEPS | _LINEAR:
            continue
        found.add(node)
        if node.op_type not in _LINEAR:
            pending += [value.producer() for value in node.inputs if value is not None]
    return found
