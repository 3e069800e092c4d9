"""The TensorRT back end on a real device, with a plan of three layers built here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import EngineError
from runtime.backends import open_session
from runtime.backends.profiled import open_profiled
from runtime.backends.tensorrt_machine import tensorrt_version
from runtime.cuda_device import current_device
from runtime.manifest import EngineInfo
from runtime.tensorrt_logger import last_errors, shared_logger
from tests.gpu_gate import unavailable

pytestmark = [pytest.mark.gpu, pytest.mark.tensorrt]
BATCHES = ((1, 3, 8, 8), (4, 3, 8, 8), (16, 3, 8, 8))


@pytest.fixture(scope="module")
def built_for() -> EngineInfo:
    try:
        version, device = tensorrt_version(), current_device()
    except EngineError as error:
        unavailable(str(error))
    return EngineInfo("tensorrt", version, device.name, device.compute_capability)


@pytest.fixture(scope="module")
def plan(built_for: EngineInfo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """relu(x) and the mean of each channel, in float32."""
    import tensorrt as trt

    builder = trt.Builder(shared_logger())
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    x = network.add_input("x", trt.DataType.FLOAT, trt.Dims([-1, 3, 8, 8]))
    relu = network.add_activation(x, trt.ActivationType.RELU).get_output(0)
    axes = 1 << 2 | 1 << 3
    mean = network.add_reduce(x, trt.ReduceOperation.AVG, axes, False).get_output(0)
    for tensor, name in ((relu, "relu"), (mean, "mean")):
        tensor.name = name
        network.mark_output(tensor)
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape("x", *BATCHES)
    config.add_optimization_profile(profile)
    serialised = builder.build_serialized_network(network, config)
    assert serialised is not None, last_errors()
    path = tmp_path_factory.mktemp("plan") / "model.plan"
    path.write_bytes(bytes(serialised))
    return path


@pytest.fixture
def session(plan: Path, built_for: EngineInfo) -> Iterator[Any]:
    session = open_session("tensorrt", plan, built_for=built_for)
    yield session
    session.close()


def check(found: Any, x: Any) -> None:
    np.testing.assert_array_equal(found["relu"], np.maximum(x, 0))  # no rounding
    # A mean of 64 float32 values of size ~1, summed in any order.
    np.testing.assert_allclose(found["mean"], x.mean((2, 3), dtype=np.float64), atol=1e-6)


def batch(count: int, seed: int) -> Any:
    return np.random.default_rng(seed).standard_normal((count, 3, 8, 8), np.float32)


def test_plain_launches_and_graphs_agree(session: Any) -> None:
    kept = []
    for seed, count in enumerate((4, 4, 4, 16, 1, 16, 16, 4, 1, 1, 16)):
        x = batch(count, seed)
        kept.append((x, session.run({"x": x})))
    for x, found in kept:
        check(found, x)


def test_torch_tensors_on_the_device(session: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if not torch.cuda.is_available():
        unavailable("PyTorch finds no CUDA device")
    for seed in range(20):
        x = torch.randn(4, 3, 8, 8, device="cuda")
        for _ in range(seed):
            x = x * -1  # still running on PyTorch's stream when the session is called
        check(session.run({"x": session.adopt("x", x)}), x.cpu().numpy())
    with pytest.raises(ValueError, match="C-contiguous"):
        session.adopt("x", torch.zeros(3, 4, 8, 8, device="cuda").transpose(0, 1))


def test_outside_the_profile(session: Any) -> None:
    with pytest.raises(EngineError, match=r"admit x \(1, 3, 8, 8\)\.\.\(16, 3, 8, 8\)"):
        session.run({"x": batch(17, 0)})


def test_memory_is_given_back(plan: Path) -> None:
    from runtime.cuda_device import call

    def cycle() -> int:
        session = open_session("tensorrt", plan)
        for _ in range(3):
            session.run({"x": batch(16, 0)})
        session.close()
        free, _ = call("cudaMemGetInfo")
        return int(free)

    first = [cycle() for _ in range(3)][-1]  # libraries load lazily in the first ones
    # Twenty sessions that leaked a 12 KiB tensor or a graph each would cost an allocation of 2 MiB.
    assert first - [cycle() for _ in range(20)][-1] < 2 << 20


def test_a_damaged_plan_is_one_line(plan: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "model.plan"
    damaged.write_bytes(plan.read_bytes()[:100])
    with pytest.raises(EngineError, match=r"refuses .*model\.plan \(") as caught:
        open_session("tensorrt", damaged)
    assert "\n" not in str(caught.value)
    # It was recorded, or logged.
    assert "TensorRT gave no reason" not in str(caught.value)


def test_layers_are_timed(plan: Path, built_for: EngineInfo) -> None:
    session = open_profiled("tensorrt", plan, built_for=built_for)
    for count in (1, 16):
        times = session.layer_times({"x": batch(count, 0)}, rounds=3)
        assert times and all(layer.name and layer.milliseconds > 0 for layer in times)
    session.close()
