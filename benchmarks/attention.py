"""Both attention kernels on a GPU against PyTorch and against what the device can do.

    python -m benchmarks.attention > FILE

It writes Markdown. It has not been run: no GPU was at hand when it was written. Inputs of small
batches stay in the second-level cache, where a bound from memory's bandwidth can be beaten.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as sdpa

from benchmarks.tables import markdown
from export.attention import shift_mask
from runtime.errors import one_line
from tests.plugins.gpu_kernels import compile_kernels, fused, window
from tests.plugins.launch import Kernels

BATCHES = (1, 8, 32, 128)
# Name, heads, tokens; heads are 64 wide.
PLAIN = (("ViT-B", 12, 197), ("ViT-B", 12, 577), ("ViT-B", 12, 1024), ("ViT-L", 16, 197))
# Name, side of the first stage's map, its heads; heads are 32 wide, windows 7, shifts 3.
WINDOWED = (("Swin-T/S", 56, 3), ("Swin-B", 56, 4))
SIDE, SHIFT = 7, 3

Run = Callable[[], object]


def _microseconds(run: Run) -> float:
    """Median device time of a call, in replayed CUDA graphs: no launches from the host."""
    from triton.testing import do_bench_cudagraph  # comes with PyTorch for CUDA

    run()  # compile and choose algorithms outside the capture
    return 1e3 * float(do_bench_cudagraph(run, return_mode="median"))


def _device_limits() -> tuple[float, float]:
    """Bytes a microsecond in a copy of 1 GiB, and FP16 operations a microsecond in a product."""
    source, target = (torch.empty(1 << 30, dtype=torch.uint8, device="cuda") for _ in range(2))
    a, out = _half(8192, 8192), _half(8192, 8192)
    copied = _microseconds(lambda: target.copy_(source))
    return 2 * source.numel() / copied, 2 * 8192**3 / _microseconds(lambda: torch.mm(a, a, out=out))


def _half(*shape: int) -> Tensor:
    return torch.randn(*shape, device="cuda").half()


def _plain_runs(kernels: Kernels, batch: int, heads: int, tokens: int) -> dict[str, Run]:
    query, key, value = (_half(batch, heads, tokens, 64) for _ in range(3))
    output = torch.empty_like(query)

    def flash() -> Tensor:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return sdpa(query, key, value)

    ours = partial(fused, kernels, query, key, value, None, 0.125, output)
    return {"ours": ours, "SDPA, flash": flash}


def _tiles(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    batch, height, width, _ = qkv.shape
    rolled = torch.roll(qkv, (-SHIFT, -SHIFT), (1, 2))
    cut = rolled.view(batch, height // SIDE, SIDE, width // SIDE, SIDE, 3, heads, 32)
    query, key, value = cut.permute(5, 0, 1, 3, 6, 2, 4, 7).reshape(3, -1, heads, SIDE**2, 32)
    return query, key, value


def _untiled(mixed: Tensor, shape: torch.Size) -> Tensor:
    batch, height, width, channels = shape
    mixed = mixed.view(batch, height // SIDE, width // SIDE, -1, SIDE, SIDE, 32)
    mixed = mixed.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, height, width, channels // 3)
    return torch.roll(mixed, (SHIFT, SHIFT), (1, 2))


def _window_runs(kernels: Kernels, batch: int, side: int, heads: int) -> dict[str, Run]:
    from torch.nn.attention.flex_attention import flex_attention

    qkv, bias = _half(batch, side, side, 96 * heads), _half(heads, SIDE**2, SIDE**2)
    output = torch.empty(batch, side, side, 32 * heads, device="cuda").half()
    masks = shift_mask(side, side, SIDE, SHIFT, qkv)
    added = (bias + masks[:, None]).repeat(batch, 1, 1, 1)

    def with_mask() -> Tensor:
        return _untiled(sdpa(*_tiles(qkv, heads), attn_mask=added), qkv.shape)

    def score(s: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return s + bias[h, q, k] + masks[b % len(masks), q, k]

    @torch.compile
    def flex() -> Tensor:
        return _untiled(flex_attention(*_tiles(qkv, heads), score_mod=score), qkv.shape)

    ours = partial(window, kernels, qkv, bias, SIDE, SHIFT, 32**-0.5, output)
    return {"ours": ours, "SDPA, mask": with_mask, "FlexAttention": flex}


def _rows(name: str, runs: Mapping[str, Run], bound: float) -> list[list[str]]:
    """One row an implementation: its time, and the bound over it."""
    result = []
    for which, run in runs.items():
        try:
            taken = _microseconds(run)
            result.append([name, which, f"{taken:.1f}", f"{bound / taken:.0%}"])
        except Exception as error:  # PyTorch raises anything; its row says what
            result.append([name, which, "failed", one_line(error)[:80].replace("|", "/")])
    return result


def _shapes(kernels: Kernels, batch: int) -> Iterator[tuple[str, int, int, dict[str, Run]]]:
    """Name, elements of the output, keys of a query, and what runs it."""
    for name, heads, tokens in PLAIN:
        runs = _plain_runs(kernels, batch, heads, tokens)
        yield f"{name}, {tokens} tokens", batch * heads * tokens * 64, tokens, runs
    for name, first, first_heads in WINDOWED:
        for stage in range(4):
            side, heads = first >> stage, first_heads << stage
            runs = _window_runs(kernels, batch, side, heads)
            yield f"{name}, stage {stage + 1}", batch * side**2 * heads * 32, SIDE**2, runs


def _report(kernels: Kernels) -> str:
    bandwidth, rate = _device_limits()
    table: list[list[str]] = []
    for batch in BATCHES:
        for name, size, keys, runs in _shapes(kernels, batch):
            # Three tensors of that size in and one out, two bytes each; two products.
            bound = max(4 * 2 * size / bandwidth, 4 * size * keys / rate)
            table += _rows(f"{name}, batch {batch}", runs, bound)
    return (
        f"# Attention on {torch.cuda.get_device_name()}, FP16, PyTorch {torch.__version__}\n\n"
        f"Measured: {bandwidth / 1e6:.2f} TB/s, {rate / 1e6:.0f} TFLOP/s. The bound is the larger "
        "of compulsory bytes over the one and operations over the other.\n\n"
        + markdown(["shape", "implementation", "µs", "of the bound"], table)
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        text = _report(compile_kernels(Path(folder)))
    print(text)
