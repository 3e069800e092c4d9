"""Takes the few outlier channels of an activation out of the int8 product.

Trained vision transformers hold a few channels of enormous size after GELU (ViT-Tiny, ImageNet:
one of layer 7's 768 reaches 220 where the median channel reaches 3.3, and its weights are 15 times
as large as the others'). Together with the rest in int8 it takes the resolution away from all of
them, whichever way the scales are balanced, and clipping it destroys the model. With O the outlier
channels,

    x W + b  =  (x W', rows O of W' zero)  +  b  +  x[O] W[O]

where the last product, of one or two columns, stays in float (Dettmers et al., "LLM.int8()",
NeurIPS 2022, section 3.2).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx_ir as ir

from calibration.biases import append_add, biased_node
from calibration.linears import (
    Linear,
    add_constant,
    constant,
    find_linears,
    private_copy,
    set_constant,
)
from calibration.ranges import ChannelStatistics

RATIO = 50.0
"""In ViT-Tiny the outlier stands at 1000 medians, and no other channel above 13."""

MOST = 8
"""More channels than these would make the float product a layer of its own."""


def split_outliers(
    model: ir.Model, statistics: Mapping[str, ChannelStatistics], names: Collection[str]
) -> ir.Model:
    """Moves the outlier channels of the named MatMuls and Gemms into a float product beside them.

    Args:
        model: Left as it is.
        statistics: Of the inputs of the linears, by value name.
        names: Linears to look at; those without outliers are left alone.

    Returns:
        A copy with the same float output, and three more nodes for each linear with outliers.
    """
    copy = private_copy(model)
    for linear in find_linears(copy):
        if linear.name in names:
            channels = outlier_channels(statistics[str(linear.source.name)], linear.matrix())
            if len(channels):
                _split(linear, channels)
    return copy


def outlier_channels(statistics: ChannelStatistics, matrix: np.ndarray) -> np.ndarray:
    """Channels whose largest product with a weight exceeds RATIO times the median channel's.

    It is the product that counts: smoothing can move a factor between the activation and the
    weights, and does nothing about what is large in both.

    Args:
        statistics: Of the linear's input.
        matrix: Weights (inputs, outputs).

    Returns:
        Ascending indices, int64; none when more than MOST stand out, which are no exceptions.
    """
    spread = np.maximum(statistics.high, -statistics.low)
    products = spread.astype(np.float64) * np.abs(matrix).max(axis=1)
    found = np.flatnonzero(products > RATIO * np.median(products))
    return found if len(found) <= MOST else found[:0]


def outliers_name(linear: str) -> str:
    """The name of the node that computes a linear's outlier product."""
    return f"{linear}.outliers"


def _split(linear: Linear, channels: np.ndarray) -> None:
    node, graph, name = linear.node, linear.node.graph, outliers_name(linear.name)
    assert isinstance(graph, ir.Graph)
    matrix, last = linear.matrix(), biased_node(linear)
    indices = add_constant(graph, f"{name}.channels", channels.astype(np.int64))
    rows = add_constant(graph, f"{name}.weight", matrix[channels])
    gather = ir.node("Gather", [linear.source, indices], {"axis": -1}, name=f"{name}.gather")
    product = ir.node("MatMul", [gather.outputs[0], rows], name=name)
    for added, like in ((gather, linear.source), (product, node.outputs[0])):
        added.outputs[0].name, added.outputs[0].type = f"{added.name}.output", like.type
        if like.shape is not None:
            added.outputs[0].shape = ir.Shape(like.shape)
    if gather.outputs[0].shape is not None:
        gather.outputs[0].shape[-1] = len(channels)
    graph.insert_before(node, [gather, product])
    append_add(last, product.outputs[0], "outliers")
    weight = constant(linear.weight)
    assert weight is not None
    kept = weight.copy()
    kept[(slice(None), channels) if linear.out_axis == 0 else channels] = 0.0
    set_constant(node, 1, kept)
