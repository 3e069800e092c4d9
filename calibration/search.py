"""The search, by its effect on the model's outputs, for the best change of each linear's input.

A linear's own output error misleads where only part of its output matters: in the last block of
a classifier, smoothing at full strength has a quarter of the local error of none at all and yet
28 times the effect on the logits (ViT-Tiny, ImageNet). So each candidate is tried in the model:
one linear at a time runs in simulated int8, everything else in float, on a few images.

One ONNX Runtime session serves all trials: what a candidate changes are initialisers that are
also graph inputs, which a run may override.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import numpy as np
import onnx_ir as ir

from calibration.activations import Batches, Feed, single_images
from calibration.biases import append_add
from calibration.linears import Linear, add_constant, find_linears, private_copy
from calibration.local_error import Affine, fake_quantised
from calibration.ranges import ChannelStatistics


def search_affines(
    model: ir.Model,
    statistics: Mapping[str, ChannelStatistics],
    candidates: Mapping[str, Sequence[Affine]],
    batches: Batches,
    images: int = 6,
    threads: int | None = None,
) -> dict[str, Affine]:
    """The best candidate for each linear.

    Args:
        model: Float graph; left as it is.
        statistics: Of the inputs of the linears, by value name.
        candidates: Name of a MatMul or Gemm linear -> changes of its input.
        batches: Calibration inputs, of which the first few images are used.
        images: How many.
        threads: ONNX Runtime threads; None means all cores.

    Returns:
        Linear name -> its affine; the candidate with the least mean squared output error,
        relative to the output's own, summed over the outputs.
    """
    trial = private_copy(model)
    linears = [linear for linear in find_linears(trial) if linear.name in candidates]
    overrides = {
        linear.name: [
            _override(linear, statistics[str(linear.source.name)], affine)
            for affine in candidates[linear.name]
        ]
        for linear in linears
    }
    for linear in linears:
        _parametrise(linear)
    run = _runner(trial, threads)
    errors = {name: np.zeros(len(options)) for name, options in candidates.items()}
    for feed in islice(single_images(batches), images):
        exact = run(feed)
        for name, options in overrides.items():
            errors[name] += [squared_error(run(feed | option), exact) for option in options]
    return {name: candidates[name][int(np.argmin(errors[name]))] for name in candidates}


def _override(
    linear: Linear, statistics: ChannelStatistics, affine: Affine
) -> dict[str, np.ndarray]:
    """Values of the trial graph's parameters that run `linear` in int8 behind `affine`."""
    matrix, sample = linear.matrix(), statistics.sample
    rounded = fake_quantised(matrix, statistics, affine)
    exact = sample.astype(np.float64) @ matrix
    correction = (exact - rounded.activations(sample) @ rounded.weights).mean(axis=0)
    weight = rounded.weights * rounded.step
    parameters = {
        "int8": np.array(True),
        "offset": affine.offset,
        "factor": 1.0 / (affine.scale * rounded.step),
        "weight": weight.T if linear.out_axis == 0 else weight,
        "correction": correction,
    }
    return {
        f"{linear.name}/{key}": value if value.dtype == bool else value.astype(np.float32)
        for key, value in parameters.items()
    }


def _parametrise(linear: Linear) -> None:
    """Rewrites source @ W as where(int8, round((source - offset) * factor), source) @ W + c."""
    node, graph, name = linear.node, linear.node.graph, linear.name
    assert isinstance(graph, ir.Graph)
    inputs, outputs = linear.matrix().shape

    def parameter(key: str, default: np.ndarray) -> ir.Value:
        value = add_constant(graph, f"{name}/{key}", default)
        value.type = ir.TensorType(ir.DataType.from_numpy(default.dtype))
        value.shape = ir.Shape(default.shape)
        graph.inputs.append(value)
        return value

    flag = parameter("int8", np.array(False))
    offset = parameter("offset", np.zeros(inputs, np.float32))
    factor = parameter("factor", np.ones(inputs, np.float32))
    bounds = (np.array(-128.0, np.float32), np.array(127.0, np.float32))
    limits = [add_constant(graph, f"{name}/limit", bound) for bound in bounds]
    centred = ir.node("Sub", [linear.source, offset])
    scaled = ir.node("Mul", [centred.outputs[0], factor])
    rounded = ir.node("Round", [scaled.outputs[0]])
    clipped = ir.node("Clip", [rounded.outputs[0], *limits])
    chosen = ir.node("Where", [flag, clipped.outputs[0], linear.source])
    graph.insert_before(node, [centred, scaled, rounded, clipped, chosen])
    weight = linear.weight.const_value
    assert weight is not None
    node.replace_input_with(0, chosen.outputs[0])
    node.replace_input_with(1, parameter("weight", weight.numpy()))
    append_add(node, parameter("correction", np.zeros(outputs, np.float32)))


def _runner(model: ir.Model, threads: int | None) -> Callable[[Feed], list[np.ndarray]]:
    """A function from inputs (and overrides) to the model's outputs."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    session = ort.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def run(feed: Feed) -> list[np.ndarray]:
        outputs: list[np.ndarray] = session.run(None, dict(feed))
        return outputs

    return run


def squared_error(outputs: list[np.ndarray], exact: list[np.ndarray]) -> float:
    """Squared error relative to the squared exact value, summed over the outputs."""
    return sum(
        float(np.sum((a - b) ** 2, dtype=np.float64))
        / max(float(np.sum(b**2, dtype=np.float64)), 1e-30)
        for a, b in zip(outputs, exact, strict=True)
    )
