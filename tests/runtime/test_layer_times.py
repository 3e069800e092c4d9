"""Times of layers on the CPU back ends, and who has none."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from runtime import EngineError
from runtime.backends.profiled import open_profiled
from tests.runtime.bundles import BACKENDS, write_model

# At 1024 rows a product of 5e8 operations beside 8 sines; copies of what it reads are a thousandth.
LARGE_AND_SMALL = """<ir_version: 10, opset_import: ["" : 20]>
both (float[batch, 512] x, float[512, 512] w, float[8] s)
    => (float[batch, 512] product, float[8] sine)
{ product = MatMul(x, w) sine = Sin(s) }"""


@pytest.mark.parametrize("backend", [*BACKENDS, "openvino-bf16"])
def test_the_largest_layer_takes_most_of_the_time(backend: str, tmp_path: Path) -> None:
    session = open_profiled(backend, write_model(tmp_path / "m.onnx", LARGE_AND_SMALL))
    rng = np.random.default_rng(0)
    for batch in (1024, 4):  # one session measures several batches
        inputs = {
            "x": rng.standard_normal((batch, 512), np.float32),
            "w": rng.standard_normal((512, 512), np.float32),
            "s": rng.standard_normal(8, np.float32),
        }
        times = {layer.name: layer for layer in session.layer_times(inputs, rounds=3)}
        assert all(layer.milliseconds >= 0 for layer in times.values())
        slowest = max(times.values(), key=lambda layer: layer.milliseconds)
        if batch == 1024:
            assert "MatMul" in f"{slowest.name} {slowest.detail}", times
        assert len(times) >= 2
    session.close()
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]  # no trace is left


@pytest.mark.parametrize("backend", ["onnxruntime-cuda", "onnxruntime-tensorrt"])
def test_providers_that_only_launch_are_refused(backend: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=f"^{backend} times launches, not what the GPU does"):
        open_profiled(backend, tmp_path / "m.onnx")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_back_end_that_is_not_installed_is_named(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, backend, None)
    with pytest.raises(EngineError, match=rf"^{backend} does not import .*`pip install {backend}`"):
        open_profiled(backend, tmp_path / "m.onnx")


def test_a_model_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("no model")
    for backend in BACKENDS:
        with pytest.raises(EngineError, match=r"m\.onnx") as caught:
            open_profiled(backend, tmp_path / "m.onnx")
        assert "\n" not in str(caught.value)
