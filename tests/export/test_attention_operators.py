"""The operators: PyTorch and ONNX against formulas written from the papers, with loops."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from export.attention import fused_attention, window_attention
from export.operators import local_functions

onnxruntime = pytest.importorskip("onnxruntime")

# Sums of at most 64 products of order 1 in float32: a few units in the last place (6e-8) each.
FLOAT32 = 1e-5
# float16 has 11 bits, so one rounding of a value near 1 is 5e-4; scores, weights and sums are
# rounded in turn (measured: up to 4e-3 on outputs up to 3).
FLOAT16 = 1e-2

# height, width, window, shift, heads
WINDOWS = [
    pytest.param(8, 8, 4, 2, 2, id="square"),
    pytest.param(8, 12, 4, 2, 1, id="wide"),
    pytest.param(9, 6, 3, 1, 3, id="tall-odd-window"),
    pytest.param(14, 7, 7, 3, 2, id="one-column-of-windows"),
    pytest.param(4, 4, 4, 0, 2, id="one-window"),
    pytest.param(6, 4, 2, 0, 2, id="unshifted"),
    pytest.param(4, 4, 2, 1, 1, id="every-window-masked"),
]
BIASES = [
    pytest.param(None, id="no-bias"),
    pytest.param((1,), id="scalar-bias"),
    pytest.param((3, 1, 1, 5), id="key-padding-bias"),
    pytest.param((1, 2, 4, 5), id="position-bias"),
]


def windows_one_by_one(
    qkv: Tensor, bias: Tensor, window: int, shift: int, heads: int, scale: float
) -> Tensor:
    """Shifted-window attention with a loop over images, windows and heads.

    A pair of tokens is masked when the roll changed where they lie to each other, because it
    carried one of them around the border of the map; nothing here knows of bands or regions.
    """
    batch, height, width, channels = qkv.shape
    size = channels // 3 // heads
    rolled = torch.roll(qkv, (-shift, -shift), (1, 2))
    out = torch.zeros(batch, height, width, channels // 3, dtype=qkv.dtype)
    corners = product(range(batch), range(0, height, window), range(0, width, window))
    for b, top, left in corners:
        rows, columns = slice(top, top + window), slice(left, left + window)
        q, k, v = rolled[b, rows, columns].reshape(window * window, 3, heads, size).unbind(1)
        cells = list(product(range(window), repeat=2))
        origin = [((top + i + shift) % height, (left + j + shift) % width) for i, j in cells]
        moved = [(y - i, x - j) for (y, x), (i, j) in zip(origin, cells, strict=True)]
        apart = torch.tensor([[one != other for other in moved] for one in moved])
        for head in range(heads):
            scores = q[:, head] @ k[:, head].T * scale + bias[head]
            weights = torch.where(apart, scores - 100.0, scores).softmax(-1)
            mixed = (weights @ v[:, head]).reshape(window, window, size)
            out[b, rows, columns, head * size : (head + 1) * size] = mixed
    return torch.roll(out, (shift, shift), (1, 2))


def window_inputs(height: int, width: int, window: int, heads: int, batch: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(height * width)
    qkv = torch.randn(batch, height, width, 3 * heads * 8, generator=generator)
    return [qkv, torch.randn(heads, window**2, window**2, generator=generator)]


def attention_inputs(bias: tuple[int, ...] | None, batch: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(batch, 2, 4, 8), (batch, 2, 5, 8), (batch, 2, 5, 6)]
    if bias is not None:
        shapes.append(tuple(min(batch, side) if side == 3 else side for side in bias))
    return [torch.randn(shape, generator=generator) for shape in shapes]


@pytest.mark.parametrize("bias", BIASES)
def test_fused_attention_is_scaled_dot_product_attention(bias: tuple[int, ...] | None) -> None:
    query, key, value, *rest = attention_inputs(bias)
    ours = fused_attention(query, key, value, rest[0] if rest else None, 0.3)
    mask = rest[0].expand(3, 2, 4, 5) if rest else None
    theirs = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.3)
    torch.testing.assert_close(ours, theirs, atol=FLOAT32, rtol=0)


@pytest.mark.parametrize(("height", "width", "window", "shift", "heads"), WINDOWS)
def test_window_attention_is_attention_in_each_window(
    height: int, width: int, window: int, shift: int, heads: int
) -> None:
    qkv, bias = window_inputs(height, width, window, heads)
    ours = window_attention(qkv, bias, window, shift, heads, 0.4)
    theirs = windows_one_by_one(qkv, bias, window, shift, heads, 0.4)
    torch.testing.assert_close(ours, theirs, atol=FLOAT32, rtol=0)


@pytest.mark.parametrize("bias", BIASES)
def test_fused_attention_keeps_pytorchs_rules_for_operators(bias: tuple[int, ...] | None) -> None:
    query, key, value, *rest = attention_inputs(bias)
    arguments = (query, key, value, rest[0] if rest else None, 0.3)
    torch.library.opcheck(torch.ops.vitrine.fused_attention.default, arguments)


@pytest.mark.parametrize("shift", [0, 2])
def test_window_attention_keeps_pytorchs_rules_for_operators(shift: int) -> None:
    arguments = (*window_inputs(8, 12, 4, 2), 4, shift, 2, 0.4)
    torch.library.opcheck(torch.ops.vitrine.window_attention.default, arguments)


def run_in_onnxruntime(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, feed)[0]


def run_in_reference(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> np.ndarray:
    return ReferenceEvaluator(model).run(None, feed)[0]


EVALUATORS = [
    pytest.param(run_in_onnxruntime, id="onnxruntime"),
    pytest.param(run_in_reference, id="onnx-reference"),
]
DTYPES = [
    pytest.param("float32", FLOAT32, id="float32"),
    pytest.param("float16", FLOAT16, id="float16"),
]


def call_onnx(
    evaluate: Callable[..., np.ndarray], name: str, tensors: list[Tensor], **attributes: float
) -> Tensor:
    """One node of the operator, with its body as a local function, on arrays of one dtype."""
    feed = {f"x{i}": tensor.numpy() for i, tensor in enumerate(tensors)}
    dtype = TensorProto.FLOAT16 if tensors[0].dtype == torch.float16 else TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(name, list(feed), ["y"], domain="vitrine", **attributes)],
        "one_node",
        [helper.make_tensor_value_info(k, dtype, v.shape) for k, v in feed.items()],
        [helper.make_tensor_value_info("y", dtype, ["a", "b", "c", "d"])],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("vitrine", 1)]
    body = ir.to_proto(local_functions()[name])
    model = helper.make_model(graph, opset_imports=opsets, functions=[body], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return torch.from_numpy(evaluate(model, feed))


@pytest.mark.parametrize("evaluate", EVALUATORS)
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("batch", [1, 3])
def test_onnx_fused_attention_is_the_pytorch_operator(
    evaluate: Callable[..., np.ndarray], dtype: str, tolerance: float, batch: int
) -> None:
    tensors = attention_inputs((3, 1, 1, 5), batch)
    expected = fused_attention(*tensors, 0.3)
    typed = [tensor.to(getattr(torch, dtype)) for tensor in tensors]
    found = call_onnx(evaluate, "FusedAttention", typed, scale=0.3)
    assert found.dtype == typed[0].dtype
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("evaluate", EVALUATORS)
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("height", "width", "window", "shift", "heads"), WINDOWS)
def test_onnx_window_attention_is_the_pytorch_operator(
    evaluate: Callable[..., np.ndarray], dtype: str, tolerance: float, batch: int,
    height: int, width: int, window: int, shift: int, heads: int,
) -> None:  # fmt: skip
    tensors = window_inputs(height, width, window, heads, batch)
    expected = window_attention(*tensors, window, shift, heads, 0.4)
    typed = [tensor.to(getattr(torch, dtype)) for tensor in tensors]
    found = call_onnx(
        evaluate, "WindowAttention", typed, window=window, shift=shift, heads=heads, scale=0.4
    )
    assert found.dtype == typed[0].dtype
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=0)
