"""ONNX Runtime's GPU providers: refused where they are missing or quietly replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import EngineError
from runtime.backends import open_session
from tests.gpu_gate import unavailable
from tests.runtime.bundles import MEAN_COLOUR, write_model

PROVIDERS = {
    "onnxruntime-cuda": "CUDAExecutionProvider",
    "onnxruntime-tensorrt": "TensorrtExecutionProvider",
}


@pytest.fixture(params=PROVIDERS)
def backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m.onnx", MEAN_COLOUR)


def refused(backend: str, model: Path, message: str) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        open_session(backend, model)
    assert "\n" not in str(caught.value)


def test_a_wheel_without_the_provider(
    backend: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    refused(
        backend,
        model,
        f"has CPUExecutionProvider, expected {PROVIDERS[backend]}; .*`pip install onnxruntime-gpu`",
    )


def test_a_provider_that_was_quietly_replaced(
    backend: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What happens where CUDA's libraries are missing: the session is made, on the CPU.
    order = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: order)
    asked: list[Any] = []
    import onnxruntime

    session = onnxruntime.InferenceSession

    def on_the_cpu(path: str, options: Any, providers: list[Any]) -> Any:
        asked.extend(name if isinstance(name, str) else name[0] for name in providers)
        return session(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr("onnxruntime.InferenceSession", on_the_cpu)
    refused(backend, model, f"on CPUExecutionProvider, expected {PROVIDERS[backend]}; install the")
    assert asked == order[order.index(PROVIDERS[backend]) :]


def test_a_provider_that_fails_in_a_run_is_not_replaced(model: Path) -> None:
    from onnxruntime.capi import onnxruntime_pybind11_state

    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(native, name)

        def run(self, *arguments: Any) -> None:
            raise onnxruntime_pybind11_state.EPFail("the device is gone")

    session: Any = open_session("onnxruntime", model)
    native, session._session._sess = session._session._sess, Failing()
    with pytest.raises(EngineError, match=r"failed to run \(the device is gone\)"):
        session.run({"pixel_values": np.zeros((1, 3, 8, 8), np.float32)})


@pytest.mark.gpu
def test_it_computes_on_the_device(backend: str, model: Path) -> None:
    import onnxruntime

    if PROVIDERS[backend] not in onnxruntime.get_available_providers():
        unavailable(f"this onnxruntime has no {PROVIDERS[backend]}")
    session = open_session(backend, model)
    values = np.random.default_rng(0).random((3, 3, 8, 8), np.float32)
    found = session.run({"pixel_values": values})["logits"]
    # A mean of 64 float32 values in 0..1, summed in any order.
    np.testing.assert_allclose(found, values.mean(axis=(2, 3), dtype=np.float64), atol=1e-6)
    session.close()
