"""Small graphs for the lowering rules, and how they are run and looked at."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.operators import local_functions

onnxruntime = pytest.importorskip("onnxruntime")


def run(model: ir.Model, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    """In ONNX Runtime as written: its own optimiser would hide what lowering did."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feed)


def graph_of(
    nodes: list[onnx.NodeProto],
    values: dict[str, tuple[int | str, ...]],
    constants: dict[str, np.ndarray],
    operators: tuple[str, ...] = (),
) -> ir.Model:
    """A model whose first `values` are inputs and whose last is the output, all float32."""
    infos = [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in values.items()]
    graph = helper.make_graph(
        nodes, "small", infos[:-1], infos[-1:],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("vitrine", 1)]
    bodies = [ir.to_proto(local_functions()[name]) for name in operators]
    model = helper.make_model(graph, opset_imports=opsets, functions=bodies, ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return ir.from_proto(model)


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]
