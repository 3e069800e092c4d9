"""One operator as a model, and that model in the form that TensorRT gets."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from small_graphs import operators

from export.lowering.for_tensorrt import lowered_for_tensorrt
from export.lowering.tensorrt_support import check_supported

Arrays = dict[str, np.ndarray]


def one_node(node: onnx.NodeProto, feed: Arrays, constants: Arrays, opset: int = 20) -> ir.Model:
    """The node as a model, of a batch that is not known; `feed` says types and other sizes."""
    infos = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), ["batch", *array.shape[1:]]
        )
        for name, array in feed.items()
    ]
    kind = next(iter(feed.values())).dtype
    output = helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(kind), None)
    graph = helper.make_graph(
        [node], "one", infos, [output],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(model, strict_mode=True))


def reference(model: ir.Model, feed: Arrays) -> np.ndarray:
    """In ONNX's reference evaluator."""
    return np.asarray(ReferenceEvaluator(ir.to_proto(model)).run(None, feed)[0])


def safe(model: ir.Model, gone: str) -> ir.Model:
    """Lowered for TensorRT, without the operator `gone`, and taken by its parser."""
    lowered = lowered_for_tensorrt(model, "primitives")
    assert gone not in operators(lowered)
    check_supported(lowered, 20)
    onnx.checker.check_model(ir.to_proto(lowered), full_check=True)
    return lowered
