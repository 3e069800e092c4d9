"""Q/DQ insertion: the graph in which precision is written down.

Each int8 linear becomes

    x -> QuantizeLinear -> DequantizeLinear -> MatMul (+ the float bias Add that was there)
                      int8 weight -> DequantizeLinear ->

Everything is symmetric: zero point 0 of type int8 (always written: TensorRT and ONNX disagree on
the default), `axis` always written. Weights have a scale per output channel, activations one per
tensor; linears that read one tensor share its Q/DQ, and so do residual additions (`residuals`).
Other outputs carry no Q/DQ: on OpenVINO 2026.4 a quantiser on a biased Conv's output, or after
layout changes of it, spoils the bias (ViT-Tiny: logit cosine 0.35 against ONNX Runtime; exact once
the bias is an Add of its own). A linear or an addition may read such an output, so a Conv that
leads to a quantiser this way gets its bias as an Add. The quantiser of a MaxPool's output stays
after the MaxPool, though before it would give the same numbers and let OpenVINO pool in int8:
2026.4 then returns something else where two Convs read the pooled tensor (cosine 0.84).

Scales are rounded up to numbers that float16 holds, so one quantised graph serves engines of
either float type with the same integers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx_ir as ir

from calibration.biases import add_to_bias, detach_bias
from calibration.linears import (
    Linear,
    add_constant,
    constant,
    find_linears,
    private_copy,
    set_constant,
)
from calibration.ranges import ChannelStatistics
from calibration.residuals import projections, share_quantisers

_LAYOUT = frozenset(
    {"Reshape", "Transpose", "Flatten", "Concat", "Slice", "Gather", "Squeeze", "Unsqueeze"}
    | {"Identity", "Split", "Expand", "Add", "Pad", "Dropout"}
)


def insert_qdq(
    model: ir.Model,
    thresholds: Mapping[str, float],
    quantised: Collection[str],
    statistics: Mapping[str, ChannelStatistics] | None = None,
) -> ir.Model:
    """Quantises the named linears.

    Args:
        model: Float graph; left as it is.
        thresholds: Clipping threshold of each quantised linear's input, by value name; of
            `residuals.skips` too, which stay float without.
        quantised: Names of the linears to run in int8.
        statistics: Of the inputs by value name. Where given, the bias takes up the mean error:
            see `mean_error`.

    Returns:
        A copy of the model with Q/DQ.

    Raises:
        ValueError: A name is not a linear of the graph, or its input has no threshold.
    """
    copy = private_copy(model)
    linears = {linear.name: linear for linear in find_linears(copy)}
    for name in quantised:
        if name not in linears:
            raise ValueError(f"{name!r} is not a linear of the graph, so it cannot be int8")
    chosen = [linear for linear in linears.values() if linear.name in quantised]
    restored: dict[ir.Value, ir.Value] = {}
    for skip in projections(copy, quantised):
        if str(skip.name) in thresholds:
            restored[skip] = quantise_activation(copy.graph, skip, thresholds[str(skip.name)])
    for linear in chosen:
        source = str(linear.source.name)
        if source not in thresholds:
            raise ValueError(f"no threshold for {source!r}, the input of {linear.name!r}")
        if linear.source not in restored:
            restored[linear.source] = quantise_activation(
                copy.graph, linear.source, thresholds[source]
            )
        integers, scale, matrix = _rounded_weight(linear)
        if statistics is not None and source in statistics:
            step = float16_scale(thresholds[source])
            add_to_bias(linear, mean_error(statistics[source], step, linear.matrix(), matrix))
        _replace_weight(linear, integers, scale)
        linear.node.replace_input_with(0, restored[linear.source])
    share_quantisers(restored)
    _separate_conv_biases(copy)
    return copy


def float16_scale(threshold: np.ndarray | float) -> np.ndarray:
    """threshold / 127, rounded up to the next float16; float32, same shape, positive."""
    exact = np.asarray(threshold, np.float64) / 127.0
    nearest = exact.astype(np.float16)
    above = np.nextafter(nearest, np.float16(np.inf))
    return np.where(nearest.astype(np.float64) < exact, above, nearest).astype(np.float32)


def mean_error(
    statistics: ChannelStatistics, step: np.ndarray, exact: np.ndarray, rounded: np.ndarray
) -> np.ndarray:
    """E[x W - xq Wq]: what int8 takes from the mean of each output, float64 (outputs,).

    Split into E[x] (W - Wq) + E[x - xq] Wq: the first mean is over all calibration images and
    carries most of it when inputs are off-centre, the second is over the sampled rows (bias
    correction, Nagel et al., "Data-Free Quantization", ICCV 2019, section 4.2).

    Args:
        statistics: Of the input x.
        step: The activation's scale.
        exact: W, (inputs, outputs).
        rounded: Wq, (inputs, outputs).
    """
    sample = statistics.sample.astype(np.float64)
    restored = np.clip(np.rint(sample / step), -128, 127) * step
    weights = exact.astype(np.float64) - rounded
    return np.asarray(statistics.mean @ weights + (sample - restored).mean(axis=0) @ rounded)


def quantise_activation(graph: ir.Graph, source: ir.Value, threshold: float) -> ir.Value:
    """source -> Q -> DQ, placed where the source is first known; nobody reads it yet.

    Args:
        graph: Edited in place.
        source: Float tensor.
        threshold: Its clipping threshold, in its own units.

    Returns:
        What the DequantizeLinear returns.
    """
    scale = add_constant(graph, f"{source.name}.scale", float16_scale(threshold))
    zero = add_constant(graph, f"{source.name}.zero_point", np.zeros((), np.int8))
    quantise = ir.node(
        "QuantizeLinear", [source, scale, zero], {"axis": 1}, name=f"{source.name}.quantise"
    )
    quantise.outputs[0].name = f"{source.name}.int8"
    quantise.outputs[0].type = ir.TensorType(ir.DataType.INT8)
    quantise.outputs[0].shape = source.shape
    restored = _dequantise(quantise.outputs[0], scale, zero, 1, f"{source.name}.dequantise")
    restored.shape = source.shape
    node, producer = restored.producer(), source.producer()
    assert node is not None
    if producer is None:
        graph.insert_before(graph[0], [quantise, node])
    else:
        graph.insert_after(producer, [quantise, node])
    return restored


def _rounded_weight(linear: Linear) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(int8 weight, float32 scale by output channel, Wq float64 (inputs, outputs))."""
    weight, axis = constant(linear.weight), linear.out_axis
    assert weight is not None
    others = tuple(i for i in range(weight.ndim) if i != axis)
    # A channel without weights takes the smallest scale; its integers are zero.
    scale = np.maximum(float16_scale(np.abs(weight).max(axis=others)), np.float32(2.0**-24))
    steps = np.expand_dims(scale, others)
    integers = np.clip(np.rint(weight / steps), -127, 127).astype(np.int8)
    rounded = np.moveaxis(integers * steps.astype(np.float64), axis, -1)
    return integers, scale, rounded.reshape(-1, rounded.shape[-1])


def _replace_weight(linear: Linear, integers: np.ndarray, scale: np.ndarray) -> None:
    """Puts int8 weights and their DequantizeLinear in place of the float weights."""
    node, graph, name = linear.node, linear.node.graph, str(linear.weight.name)
    assert isinstance(graph, ir.Graph)
    stored = set_constant(node, 1, integers)
    values = (
        stored,
        add_constant(graph, f"{name}.scale", scale),
        add_constant(graph, f"{name}.zero_point", np.zeros(scale.shape, np.int8)),
    )
    restored = _dequantise(*values, linear.out_axis, f"{linear.name}.weight.dequantise")
    restored.shape = ir.Shape(integers.shape)
    dequantise = restored.producer()
    assert dequantise is not None
    graph.insert_before(node, dequantise)
    node.replace_input_with(1, restored)


def _dequantise(
    integers: ir.Value, scale: ir.Value, zero: ir.Value, axis: int, name: str
) -> ir.Value:
    node = ir.node("DequantizeLinear", [integers, scale, zero], {"axis": axis}, name=name)
    node.outputs[0].name = f"{name}.output"
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    return node.outputs[0]


def _separate_conv_biases(model: ir.Model) -> None:
    """Detaches the bias of every Conv from which layout changes lead to a quantiser."""
    for node in list(model.graph):
        if node.op_type == "Conv" and not node.domain and _reaches_quantiser(node.outputs[0]):
            detach_bias(node)


def _reaches_quantiser(start: ir.Value) -> bool:
    pending, seen = [start], {start}
    while pending:
        for node, _ in pending.pop().uses():
            if node.op_type == "QuantizeLinear":
                return True
            if node.op_type in _LAYOUT:
                pending += [value for value in node.outputs if value not in seen]
                seen.update(node.outputs)
    return False
