from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.tensorrt_logger import _logger
from tests.fakes import cuda_machine, cuda_runtime, tensorrt_runtime
from tests.runtime.bundles import DETECTOR, MASKED, write_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "mean_colour-fp32-cpu")


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "masked-fp32-cpu", DETECTOR, MASKED)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[cuda_machine.Machine]:
    """A machine with a fake GPU and TensorRT, on which nothing may be left afterwards."""
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda_runtime)
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt_runtime)
    tensorrt_runtime._reset()
    _logger.cache_clear()
    machine = cuda_machine.reset()
    gc.freeze()  # what is there already need not be looked through afterwards
    yield machine
    machine.idle()
    gc.collect()  # an exception that a test caught may have kept objects in a cycle
    gc.unfreeze()
    assert machine.left() == {}
    assert list(tensorrt_runtime._alive) == []
    _logger.cache_clear()  # it is of the fake's class
