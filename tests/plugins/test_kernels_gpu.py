"""The kernels on a GPU against PyTorch in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from export.attention import fused_attention, window_attention
from tests.gpu_gate import require_gpu
from tests.plugins.cases import error_bound
from tests.plugins.gpu_kernels import compile_kernels, fused, window
from tests.plugins.launch import Kernels

pytestmark = pytest.mark.gpu
FLOATS = pytest.mark.parametrize("dtype", ["float16", "float32"])
SIZES = pytest.mark.parametrize("size", [16, 24, 32, 40, 48, 64, 72, 80, 88, 96, 112, 128])


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    require_gpu()
    return compile_kernels(tmp_path_factory.mktemp("kernels"))


def normal(seed: int, *shape: int, dtype: str) -> Tensor:
    generator = torch.Generator("cuda").manual_seed(seed)
    return torch.randn(*shape, device="cuda", generator=generator).to(getattr(torch, dtype))


def guarded(shape: tuple[int, ...], dtype: torch.dtype, run: Callable[[Tensor], None]) -> Tensor:
    """What `run` writes into an output amid guards that must stay; what it leaves is NaN."""
    guard = 4096  # elements; keeps the output's alignment
    count = torch.Size(shape).numel()
    mark = -1 if dtype == torch.int8 else float("nan")
    whole = torch.full((count + 2 * guard,), mark, dtype=dtype, device="cuda")
    run(whole[guard : guard + count])
    torch.cuda.synchronize()
    for edge in (whole[:guard], whole[guard + count :]):
        assert (edge == -1).all() if dtype == torch.int8 else edge.isnan().all()
    return whole[guard : guard + count].view(shape).double()


def check_fused(
    kernels: Kernels, dtype: str, shape: tuple[int, int, int, int], size: int, value_size: int,
    bias_shape: tuple[int, ...] | None = None,
) -> None:  # fmt: skip
    batch, heads, queries, keys = shape
    query = normal(0, batch, heads, queries, size, dtype=dtype)
    key = normal(1, batch, heads, keys, size, dtype=dtype)
    value = normal(2, batch, heads, keys, value_size, dtype=dtype)
    bias = None if bias_shape is None else normal(3, *bias_shape, dtype=dtype)
    scale = size**-0.5
    found = guarded(
        (batch, heads, queries, value_size),
        query.dtype,
        lambda output: fused(kernels, query, key, value, bias, scale, output),
    )
    exact = [None if t is None else t.double() for t in (query, key, value, bias)]
    expected = fused_attention(*exact, scale)
    bound = error_bound(dtype, float(value.abs().max()), keys)
    torch.testing.assert_close(found, expected, rtol=0, atol=bound)


@FLOATS
@SIZES
@pytest.mark.parametrize("heads", [1, 3, 12], ids=lambda n: f"{n} heads")
def test_fused_head_sizes(kernels: Kernels, heads: int, size: int, dtype: str) -> None:
    check_fused(kernels, dtype, (3, heads, 197, 197), size, size)


@FLOATS
@pytest.mark.parametrize("batch", [1, 3, 32], ids=lambda n: f"batch {n}")
@pytest.mark.parametrize("size", [32, 64, 80, 128])
@pytest.mark.parametrize(
    ("queries", "keys"),
    [(1, 1), (1, 4096), (4096, 1), (15, 17), (63, 65), (129, 31), (577, 577), (1024, 1024)],
    ids=lambda n: str(n),
)
def test_fused_sequences(
    kernels: Kernels, queries: int, keys: int, size: int, batch: int, dtype: str
) -> None:
    check_fused(kernels, dtype, (batch, 3, queries, keys), size, size)


@FLOATS
@pytest.mark.parametrize("size", [64, 128])
def test_fused_longest_sequence(kernels: Kernels, size: int, dtype: str) -> None:
    check_fused(kernels, dtype, (1, 3, 4096, 4096), size, size)


@FLOATS
@pytest.mark.parametrize(
    "bias_shape",
    [(3, 2, 200, 170), (1, 2, 200, 170), (3, 1, 1, 170), (1, 1, 200, 1)],
    ids=lambda s: "x".join(map(str, s)),
)
@pytest.mark.parametrize(("size", "value_size"), [(64, 64), (16, 96), (20, 33)])
def test_fused_bias_and_unequal_sizes(
    kernels: Kernels, size: int, value_size: int, bias_shape: tuple[int, ...], dtype: str
) -> None:
    check_fused(kernels, dtype, (3, 2, 200, 170), size, value_size, bias_shape)


@FLOATS
def test_fused_masks(kernels: Kernels, dtype: str) -> None:
    """Whole tiles without weight, and a row without keys, whose softmax is NaN."""
    query, key, value = (normal(seed, 2, 3, 200, 64, dtype=dtype) for seed in range(3))
    bias = torch.zeros_like(query[:1, :1, :, :1]).repeat(1, 1, 1, 200)
    bias[..., :150] = bias[:, :, 7] = -torch.inf
    found = guarded(
        tuple(query.shape),
        query.dtype,
        lambda output: fused(kernels, query, key, value, bias, 0.125, output),
    )
    expected = fused_attention(*(t.double() for t in (query, key, value, bias)), 0.125)
    bound = error_bound(dtype, float(value.abs().max()), 200)
    torch.testing.assert_close(found, expected, rtol=0, atol=bound, equal_nan=True)


def check_window(
    kernels: Kernels, dtype: str, side: int, shift: int, size: int, heads: int, batch: int = 3
) -> None:
    scales = (3 / 128, 1.5 / 128) if dtype == "int8" else (1.0, 1.0)
    shape = (batch, 3 * side, 4 * side)
    qkv = normal(0, *shape, 3 * heads * size, dtype="float32")
    qkv = (qkv / scales[0]).round().clamp(-128, 127) if dtype == "int8" else qkv
    qkv = qkv.to(getattr(torch, dtype))
    bias_type = "float16" if dtype == "int8" else dtype
    bias = normal(1, heads, side**2, side**2, dtype=bias_type)
    found = guarded(
        (*shape, heads * size),
        qkv.dtype,
        lambda output: window(kernels, qkv, bias, side, shift, size**-0.5, output, scales),
    )
    real = qkv.double() * scales[0]
    expected = window_attention(real, bias.double(), side, shift, heads, size**-0.5)
    bound = error_bound(bias_type, float(real.abs().max()), side**2)
    if dtype == "int8":
        found = found * scales[1]
        expected = expected.clamp(-128 * scales[1], 127 * scales[1])
        bound += scales[1] / 2  # rounding
    torch.testing.assert_close(found, expected, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
@pytest.mark.parametrize("heads", [1, 3, 24], ids=lambda n: f"{n} heads")
@pytest.mark.parametrize("side", range(4, 13), ids=lambda n: f"window {n}")
def test_windows(kernels: Kernels, side: int, heads: int, dtype: str) -> None:
    for shift in (0, side // 2):
        check_window(kernels, dtype, side, shift, 32, heads)


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
@pytest.mark.parametrize("side", [7, 8, 12], ids=lambda n: f"window {n}")
@SIZES
def test_window_head_sizes(kernels: Kernels, size: int, side: int, dtype: str) -> None:
    check_window(kernels, dtype, side, side // 2, size, heads=2)


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_blocks_walk_over_many_windows(kernels: Kernels, dtype: str) -> None:
    """More windows than a device holds at once."""
    check_window(kernels, dtype, 7, 3, 32, heads=4, batch=257)


def test_attention_within_a_cuda_graph(kernels: Kernels) -> None:
    """Launching asks the device nothing that a capture forbids."""
    query, key, value = (normal(i, 2, 3, 197, 64, dtype="float16") for i in range(3))
    qkv = normal(3, 2, 14, 14, 3 * 64, dtype="float16")
    bias = normal(4, 2, 49, 49, dtype="float16")
    outputs = [torch.empty_like(query), torch.empty(2, 14, 14, 64, device="cuda").half()]

    def run() -> None:
        fused(kernels, query, key, value, None, 0.125, outputs[0])
        window(kernels, qkv, bias, 7, 3, 0.2, outputs[1])

    run()
    torch.cuda.synchronize()
    expected = [output.clone() for output in outputs]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    for output in outputs:
        output.zero_()
    graph.replay()
    torch.cuda.synchronize()
    assert all(map(torch.equal, outputs, expected))
