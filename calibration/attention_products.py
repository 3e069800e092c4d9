"""Which attentions survive int8 in both of their products, and with which probabilities clipped.

    p  = softmax(int8(scale q) int8(k)^T + bias)        attention = int8(p) int8(v)

TensorRT fuses attention in int8 only when both products are (NVIDIA/TensorRT issues 3243 and
1992), for up to 512 keys (Model Optimizer, modelopt/onnx/quantization/graph_utils.py). Symmetric
int8 has 127 steps for probabilities, and what is below half a step vanishes. So the largest
probability to represent is chosen, by the error of what the attention returns: where none is near
1, clipping at less makes the steps finer. What is left depends on the length of the rows and on
how uneven they are, so it is measured for each attention, relative to the square of what it
returns. As a device kit has them (32 calibration images for this, other images for the rest, ONNX
Runtime as written; in brackets without int8 attention), with every attention of a fitting size:

| model | keys | error by attention | logit cosine | agreement |
|---|---:|---|---|---|
| swin_tiny_shapes | 16 | 2.5e-5 to 2.7e-4 | 0.99993 (0.99998) | 99.75 % (99.75 %) of 400 |
| Swin-T, random weights | 49 | 8.6e-6 to 1.1e-4 | 0.99982 (0.99983) | means nothing |
| vit_tiny_shapes | 65 | 4.9e-4 to 2.7e-3 | 0.9989 (0.99997) | 98.75 % (100 %) of 400 |
| ViT-Tiny, ImageNet | 197 | 1.4e-3 to 8.3e-3 | 0.9928 (0.9982) | 95.75 % (98.25 %) of 400 |

Probabilities cause nearly all of it: int8 queries, keys and values alone cost ViT-Tiny 0.0001.
Clipping matters: on 200 images its cosine was 0.992 with the chosen limits and 0.975 with 1
throughout. Giving the mean error to the next bias would take off half of it in ViT-Tiny's first
block and at most 23 % in all others, so that no more would qualify; it was left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from calibration.activations import Batches, stream
from calibration.linears import SMALLEST_SIDE, constant
from calibration.qdq import float16_scale

LIMIT = 1e-3
"""Squared error of what an attention returns, relative to its square, up to which it may be int8.

About a quarter of the attentions' sum arrives at the outputs (trained models above: 0.16 to 0.27),
so twelve attentions at the limit add 0.003 to the squared error of the logits, which is what all
int8 linears of a ViT-Tiny cost together (0.0036)."""

MOST_KEYS, MOST_CHANNELS = 512, 128
# Of probabilities: each is lower by a square root of two, down to 2^-6. A row of 64 equal ones
# still fits there, and longer ones do not survive in any case.
_CLIPS = 2.0 ** (-np.arange(13) / 2)
_OPERANDS = ("query", "key", "value")

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Products:
    """What int8 products of one attention need, and what they cost.

    Attributes:
        query: largest magnitude of the scaled queries.
        key: of the keys.
        value: of the values.
        probability: the largest that is represented.
        error: squared error of what the attention returns, relative to its square.
    """

    query: float
    key: float
    value: float
    probability: float
    error: float


def fits(node: ir.Node) -> bool:
    """Whether a node is an attention of the sizes for which int8 kernels are fused."""
    if node.domain != "vitrine" or node.op_type != "FusedAttention":
        return False
    shapes = [None if v is None or v.shape is None else list(v.shape) for v in node.inputs[:3]]
    if any(shape is None or len(shape) != 4 for shape in shapes):
        return False
    rows = [shape[2] for shape in shapes if shape is not None]
    channels = [shape[3] for shape in shapes if shape is not None]
    # Fewer queries than a tile of a kernel would be padded, as in a last block of one token.
    return all(isinstance(n, int) and SMALLEST_SIDE <= n <= MOST_KEYS for n in rows) and all(
        isinstance(n, int) and n % 16 == 0 and n <= MOST_CHANNELS for n in channels
    )


def measure_products(
    model: ir.Model, batches: Batches, threads: int | None = None
) -> dict[str, Products]:
    """Measures every attention that fits; its own error alone, on the operands of this graph.

    Args:
        model: with FusedAttention operators, in float32 around them.
        batches: calibration inputs; read twice, one image at a time.
        threads: ONNX Runtime threads; None means all cores.

    Returns:
        By node name, in graph order.
    """
    nodes = [node for node in model.graph if fits(node)]
    if not nodes:
        return {}
    largest = {str(node.name): np.zeros(3) for node in nodes}
    for node, operands, _ in _operands(model, nodes, batches, threads):
        peaks = [float(np.abs(operand).max()) for operand in operands]
        largest[str(node.name)] = np.maximum(largest[str(node.name)], peaks)
    errors = {name: np.zeros(len(_CLIPS)) for name in largest}
    squares = dict.fromkeys(largest, 0.0)
    for node, operands, bias in _operands(model, nodes, batches, threads):
        name = str(node.name)
        found, square = _errors(operands, bias, largest[name])
        errors[name] += found
        squares[name] += square
    measured = {}
    for name, (query, key, value) in largest.items():
        relative = errors[name] / max(squares[name], 1e-30)
        best = int(relative.argmin())
        limits = (float(query), float(key), float(value), float(_CLIPS[best]))
        measured[name] = Products(*limits, float(relative[best]))
    return measured


def _operands(
    model: ir.Model, nodes: list[ir.Node], batches: Batches, threads: int | None
) -> Iterator[tuple[ir.Node, tuple[Floats, ...], Floats | None]]:
    """Each attention's scaled queries, its keys, values and bias, image by image."""
    values = [value for node in nodes for value in node.inputs if value is not None]
    computed = dict.fromkeys(str(v.name) for v in values if constant(v) is None)

    def array(value: ir.Value | None, tensors: Mapping[str, Floats]) -> Floats | None:
        if value is None:
            return None
        fixed = constant(value)
        return tensors[str(value.name)] if fixed is None else fixed

    for tensors in stream(model, list(computed), batches, threads):
        for node in nodes:
            query, key, value = (array(v, tensors) for v in node.inputs[:3])
            assert query is not None and key is not None and value is not None
            bias = array(node.inputs[3], tensors) if len(node.inputs) > 3 else None
            scale = np.float32(node.attributes["scale"].as_float())
            yield node, (query * scale, key, value), bias


def _errors(
    operands: tuple[Floats, ...], bias: Floats | None, largest: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], float]:
    """Squared error of what int8 products return, by clip, and the square of the exact result."""
    query, key, value = operands
    exact = _probabilities(query, key, bias) @ value
    query, key, value = (_rounded(o, most) for o, most in zip(operands, largest, strict=True))
    rows = _probabilities(query, key, bias)
    found = [np.square(_rounded(rows, clip) @ value - exact).sum(dtype=float) for clip in _CLIPS]
    return np.array(found), float(np.square(exact).sum(dtype=float))


def _probabilities(query: Floats, key: Floats, bias: Floats | None) -> Floats:
    scores = query @ key.swapaxes(-1, -2)
    if bias is not None:
        scores = scores + bias
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def _rounded(array: Floats, threshold: float) -> Floats:
    """As a QuantizeLinear and a DequantizeLinear of `calibration.qdq` leave it."""
    step = np.float32(float16_scale(threshold or 1.0))
    return np.asarray(np.clip(np.rint(array / step), -128, 127) * step)
