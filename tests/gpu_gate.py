"""Skipping what needs a GPU or TensorRT, and failing instead where a run must not skip."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def unavailable(reason: str) -> NoReturn:
    """Skips the test, naming what is missing; fails it under `VITRINE_REQUIRE_GPU=1`."""
    if os.environ.get("VITRINE_REQUIRE_GPU") == "1":
        pytest.fail(f"VITRINE_REQUIRE_GPU is set, and {reason}")
    pytest.skip(reason)


def require_gpu() -> None:
    """Skips or fails unless PyTorch finds a CUDA device."""
    import torch

    if not torch.cuda.is_available():
        unavailable("no CUDA device is here")
