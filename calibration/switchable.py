"""One session in which any subset of the calibrated linears can run in int8.

A search tries many subsets, and building a graph and a session for each costs more than running
it. So the all-int8 graph is parametrised: what the type of a linear decides are initialisers that
are also graph inputs, which a run may override. Its input is chosen between the restored int8
values and the float value; its weight, and a correction of its bias, are given.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from calibration.activations import Feed
from calibration.attention import queries_and_keys
from calibration.biases import append_add
from calibration.calibrate import Calibrated
from calibration.linears import Linear, add_constant, constant, find_linears
from calibration.quantise import quantise


class Switchable:
    """A calibrated graph whose linears switch between float and int8 from run to run.

    It computes what `quantise` of the same subset computes, as the graph is written.
    """

    def __init__(
        self,
        calibrated: Calibrated,
        names: Collection[str],
        scores: Collection[str] = (),
        threads: int | None = None,
    ) -> None:
        """Builds the session.

        Args:
            calibrated: A float graph made ready for int8.
            names: Linears that may run in int8, all of them calibrated.
            scores: Attentions whose queries and keys may be int8, calibrated too.
            threads: ONNX Runtime threads; None means all cores.
        """
        import onnxruntime as ort

        model, self._overrides = _parametrised(calibrated, names, scores)
        self.outputs = [str(value.name) for value in model.graph.outputs]
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or 0
        self._session = ort.InferenceSession(
            ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def run(self, feed: Feed, int8: Collection[str]) -> list[np.ndarray]:
        """The model's outputs with the named linears and attentions in int8, others in float."""
        given = dict(feed)
        for name in int8:
            given |= self._overrides[name]
        outputs: list[np.ndarray] = self._session.run(None, given)
        return outputs


def _parametrised(
    calibrated: Calibrated, names: Collection[str], scores: Collection[str]
) -> tuple[ir.Model, dict[str, dict[str, np.ndarray]]]:
    """The graph, by default in float, and what each linear's int8 form overrides."""
    model, exact = quantise(calibrated, {*names, *scores}), quantise(calibrated, ())
    floats = {linear.name: linear for linear in find_linears(exact)}
    nodes = [node for node in model.graph if node.name in names]
    values = {str(v.name): v for node in model.graph for v in node.outputs}
    values |= {str(value.name): value for value in model.graph.inputs}
    overrides, corrections = {}, {}
    for node in nodes:
        linear, name = floats[str(node.name)], str(node.name)
        weight = linear.weight.const_value
        assert weight is not None
        rounded = _restored_weight(node).astype(np.float32)
        parameter = _parameter(model.graph, f"{name}/weight", weight.numpy())
        flag = _parameter(model.graph, f"{name}/int8", np.array(False))
        chosen = ir.node("Where", [flag, node.inputs[0], values[str(linear.source.name)]])
        model.graph.insert_before(node, chosen)
        node.replace_input_with(0, chosen.outputs[0])
        node.replace_input_with(1, parameter)
        corrections[name] = (_bias(linear.node, linear) - _bias(node, linear)).astype(np.float32)
        overrides[name] = {
            str(parameter.name): rounded,
            str(flag.name): np.array(True),
            f"{name}/correction": np.zeros_like(corrections[name]),
        }
    _switch_additions(model.graph)
    overrides |= _switch_scores(model.graph, scores)
    # Adds take over the name of the value that they follow, so they come after every look-up.
    for node in nodes:
        correction = corrections[str(node.name)]
        parameter = _parameter(model.graph, f"{node.name}/correction", correction)
        node.name = f"{node.name}/switched"  # its bias may be an Add that was named after it
        append_add(node, parameter)
    return model, overrides


def _switch_scores(graph: ir.Graph, names: Collection[str]) -> dict[str, dict[str, np.ndarray]]:
    """What makes the queries and keys of each named attention int8."""
    overrides = {}
    for node in [node for node in graph if node.name in names]:
        flag = _parameter(graph, f"{node.name}/int8", np.array(False))
        for restored in queries_and_keys(node):
            source, dequantise = _quantised_source(restored), restored.producer()
            assert source is not None and dequantise is not None
            readers = tuple(restored.uses())
            chosen = ir.node("Where", [flag, restored, source])
            graph.insert_after(dequantise, chosen)
            for reader, index in readers:
                reader.replace_input_with(index, chosen.outputs[0])
        overrides[str(node.name)] = {str(flag.name): np.array(True)}
    return overrides


def _switch_additions(graph: ir.Graph) -> None:
    """Additions read int8 values where a linear does, and those of a Conv that is int8 itself."""
    for node in list(graph):
        for index, value in enumerate(node.inputs if node.op_type == "Add" else ()):
            source = _quantised_source(value)
            if value is None or source is None:
                continue
            flags = [use.node.inputs[0] for use in value.uses() if use.node.op_type == "Where"]
            if not flags:
                conv = source.producer()
                while conv is not None and conv.op_type == "Add":  # its bias
                    conv = None if conv.inputs[0] is None else conv.inputs[0].producer()
                assert conv is not None
                flags = [graph.initializers[f"{conv.name}/int8"]]
            while len(flags) > 1:
                either = ir.node("Or", [flags.pop(), flags.pop()])
                graph.insert_before(node, either)
                flags.append(either.outputs[0])
            chosen = ir.node("Where", [flags[0], value, source])
            graph.insert_before(node, chosen)
            node.replace_input_with(index, chosen.outputs[0])


def _quantised_source(value: ir.Value | None) -> ir.Value | None:
    """The float tensor whose int8 values these are; None for anything else."""
    dequantise = None if value is None else value.producer()
    if dequantise is None or dequantise.op_type != "DequantizeLinear":
        return None
    integers = dequantise.inputs[0]
    quantise = None if integers is None else integers.producer()
    return None if quantise is None else quantise.inputs[0]


def _parameter(graph: ir.Graph, name: str, default: np.ndarray) -> ir.Value:
    """A new initialiser that a run may override."""
    value = add_constant(graph, name, default)
    value.type = ir.TensorType(ir.DataType.from_numpy(default.dtype))
    value.shape = ir.Shape(default.shape)
    graph.inputs.append(value)
    return value


def _restored_weight(node: ir.Node) -> np.ndarray:
    """What the DequantizeLinear of a linear's weight computes."""
    value = node.inputs[1]
    producer = None if value is None else value.producer()
    if producer is None or producer.op_type != "DequantizeLinear":
        raise ValueError(f"{node.name!r} has no int8 weight")
    integers, scale = constant(producer.inputs[0]), constant(producer.inputs[1])
    assert integers is not None and scale is not None
    others = [i for i in range(integers.ndim) if i != producer.attributes.get_int("axis")]
    return np.asarray(integers * np.expand_dims(scale, others))


def _bias(node: ir.Node, linear: Linear) -> np.ndarray:
    """The sum of constants added to each output; float64 (outputs,), or (outputs, 1, 1) of a Conv.

    They may stand in the node and in any number of Adds after it.
    """
    outputs = linear.matrix().shape[1]
    total = np.zeros(outputs)
    third = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if third is not None and third.size == outputs:
        total += third.ravel()
    value = node.outputs[0]
    while not value.is_graph_output() and len(value.uses()) == 1:
        use = next(iter(value.uses()))
        addend = constant(use.node.inputs[1 - use.idx]) if use.node.op_type == "Add" else None
        if addend is None or addend.size != outputs:
            break
        total += addend.ravel()
        value = use.node.outputs[0]
    spatial = len(linear.weight.shape or ()) - 2 if node.op_type == "Conv" else 0
    return total.reshape(-1, *[1] * spatial)
