"""The kernels on a GPU: compiled for it, and called with PyTorch's CUDA tensors."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import torch
from torch import Tensor

from tests.gpu_gate import unavailable
from tests.plugins.launch import (
    FLOAT,
    HALF,
    INT8,
    FusedAttention,
    Kernels,
    WindowAttention,
    bias_strides,
)

SOURCES = Path(__file__).resolve().parents[2] / "engines" / "plugins"
TYPES = {torch.float32: FLOAT, torch.float16: HALF, torch.int8: INT8}


def compile_kernels(folder: Path) -> Kernels:
    """The kernels without the plugins, for the current device alone; skips without nvcc."""
    nvcc = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if nvcc is None:
        unavailable("nvcc is not installed")
    major, minor = torch.cuda.get_device_capability()
    library = folder / "libkernels.so"
    sources = [str(SOURCES / f"{name}_attention.cu") for name in ("fused", "window")]
    command = [nvcc, "-std=c++17", "-O3", "-shared", "-Xcompiler", "-fPIC", f"-I{SOURCES}"]
    command += [f"-arch=sm_{major}{minor}", *sources, "-o", str(library)]
    subprocess.run(command, check=True)
    return Kernels(str(library))


def fused(
    kernels: Kernels, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None,
    scale: float, output: Tensor,
) -> None:  # fmt: skip
    """Enqueues fused attention on PyTorch's current stream; all tensors contiguous."""
    problem = FusedAttention(
        query.data_ptr(), key.data_ptr(), value.data_ptr(),
        None if bias is None else bias.data_ptr(), output.data_ptr(),
        (0,) * 4 if bias is None else bias_strides(tuple(bias.shape)),
        *query.shape[:3], key.shape[2], query.shape[3], value.shape[3], scale, TYPES[query.dtype],
    )  # fmt: skip
    status = kernels.fused(problem, torch.cuda.current_stream().cuda_stream)
    assert status == 0, f"cudaError_t {status}"


def window(
    kernels: Kernels, qkv: Tensor, bias: Tensor, side: int, shift: int, scale: float,
    output: Tensor, scales: tuple[float, float] = (1, 1),
) -> None:  # fmt: skip
    """Enqueues window attention likewise; `scales` are int8's, of qkv and of the output."""
    batch, height, width, channels = qkv.shape
    problem = WindowAttention(
        qkv.data_ptr(), bias.data_ptr(), output.data_ptr(), batch, height, width,
        len(bias), channels // 3 // len(bias), side, shift, scale, *scales,
        TYPES[qkv.dtype], TYPES[bias.dtype],
    )  # fmt: skip
    status = kernels.window(problem, torch.cuda.current_stream().cuda_stream)
    assert status == 0, f"cudaError_t {status}"
