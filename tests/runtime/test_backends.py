from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import EngineError
from runtime.backends import open_session
from tests.runtime.bundles import BACKENDS, MEAN_COLOUR, write_model

TWO_OUTPUTS = """<ir_version: 10, opset_import: ["" : 20]>
two (float[batch, 2] a, float[batch, 2] b) => (float[batch, 2] z, float[batch, 2] sum)
{ sum = Add(a, b) z = Identity(sum) }"""

PRODUCT = """<ir_version: 10, opset_import: ["" : 20]>
product (float[batch, 64] x) => (float[batch, 64] y)
<float[64, 64] w = {%s}> { y = MatMul(x, w) }"""

WITH_FUNCTION = """<ir_version: 10, opset_import: ["" : 20, "vitrine" : 1]>
call (float[batch, 4] x) => (float[batch, 4] y) { y = vitrine.Twice(x) }
<opset_import: ["" : 20], domain: "vitrine"> Twice (v) => (r) { r = Add(v, v) }"""


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_names_versions_and_any_batch(backend: str, tmp_path: Path) -> None:
    session = open_session(backend, write_model(tmp_path / "m.onnx", MEAN_COLOUR), threads=1)
    assert session.name == backend
    assert session.version[:1].isdigit()
    for n in (1, 3, 2):
        values = np.random.default_rng(n).random((n, 3, 8, 8), np.float32)
        logits = session.run({"pixel_values": values})["logits"]
        # A mean of 64 float32 values in 0..1, summed in any order.
        np.testing.assert_allclose(logits, values.mean(axis=(2, 3), dtype=np.float64), atol=1e-6)
    session.close()


def test_aliased_outputs_keep_their_names_and_belong_to_the_caller(
    backend: str, tmp_path: Path
) -> None:
    session = open_session(backend, write_model(tmp_path / "m.onnx", TWO_OUTPUTS))
    a, b = np.float32([[1, 2]]), np.float32([[10, 20]])
    first = session.run({"b": b, "a": a})
    second = session.run({"a": a * 0, "b": b * 0})
    assert list(first) == ["z", "sum"]
    for name in first:
        np.testing.assert_array_equal(first[name], [[11, 22]])
        np.testing.assert_array_equal(second[name], [[0, 0]])
        first[name][:] = 7  # writable


def test_strided_inputs(backend: str, tmp_path: Path) -> None:
    session = open_session(backend, write_model(tmp_path / "m.onnx", TWO_OUTPUTS))
    a = np.arange(8, dtype=np.float32).reshape(2, 4)[:, ::2]
    np.testing.assert_array_equal(session.run({"a": a, "b": a.T})["sum"], a + a.T)


def test_float32_is_not_lowered(backend: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    w, x = rng.standard_normal((64, 64), np.float32), rng.standard_normal((16, 64), np.float32)
    text = PRODUCT % ", ".join(f"{value:.9g}" for value in w.ravel())
    found = open_session(backend, write_model(tmp_path / "m.onnx", text)).run({"x": x})["y"]
    # 64 float32 terms of size ~1: about 1e-5; bfloat16 or float16 inputs would err by > 1e-2.
    np.testing.assert_allclose(found, x.astype(np.float64) @ w, atol=2e-5)


def test_bfloat16_is_used_where_the_processor_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    w, x = rng.standard_normal((64, 64), np.float32), rng.standard_normal((16, 64), np.float32)
    text = PRODUCT % ", ".join(f"{value:.9g}" for value in w.ravel())
    model, exact = write_model(tmp_path / "m.onnx", text), x.astype(np.float64) @ w
    session = open_session("openvino-bf16", model)
    error = np.abs(session.run({"x": x})["y"] - exact).max()
    if session.name == "openvino-bf16":
        # 64 terms of size ~1, each factor and the sum rounded to 8 bits (2^-9 at most): about
        # 8 * 2^-9 * 2 = 0.03; float32 would err by 1e-5.
        assert 1e-3 < error < 0.2
    monkeypatch.setattr("openvino.Core.get_property", lambda *_: ["FP32", "INT8"])
    session = open_session("openvino-bf16", model)
    assert session.name == "openvino"
    np.testing.assert_allclose(session.run({"x": x})["y"], exact, atol=2e-5)  # as above


def test_local_functions(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", WITH_FUNCTION)
    x = np.float32([[1, 2, 3, 4]])
    session = open_session("onnxruntime", model, faithful=True)
    np.testing.assert_array_equal(session.run({"x": x})["y"], 2 * x)
    # OpenVINO has none (2026.4): what is built for it must have them inlined.
    with pytest.raises(EngineError, match=r"vitrine\.Twice"):
        open_session("openvino", model)


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param({"a": np.zeros((1, 2), np.float32)}, id="missing"),
        pytest.param(dict.fromkeys("abc", np.zeros((1, 2), np.float32)), id="surplus"),
        pytest.param(dict.fromkeys("ab", np.zeros((1, 3), np.float32)), id="shape"),
    ],
)
def test_a_refused_run_is_one_line(
    backend: str, tmp_path: Path, inputs: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    session = open_session(backend, write_model(tmp_path / "m.onnx", TWO_OUTPUTS))
    session.run(dict.fromkeys("ab", np.zeros((1, 2), np.float32)))
    with pytest.raises(EngineError) as caught:
        session.run(inputs)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_unusable_models(backend: str, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    for name in ("bad.onnx", "absent.onnx"):
        with pytest.raises(EngineError, match=rf"refuses .*{name}") as caught:
            open_session(backend, tmp_path / name)
        assert "\n" not in str(caught.value)


def test_faithful_runs_the_graph_as_written(tmp_path: Path) -> None:
    # Optimised, the scale moves behind the product, and nothing overflows.
    text = """<ir_version: 10, opset_import: ["" : 20]>
    scaled (float[batch, 1] x) => (float[batch, 1] y) <float s = {1e20}, float[1, 1] w = {1e-20}>
    { big = Mul(x, s) y = MatMul(big, w) }"""
    model = write_model(tmp_path / "m.onnx", text)
    inputs = {"x": np.float32([[1e20]])}
    assert np.isinf(open_session("onnxruntime", model, faithful=True).run(inputs)["y"])
    assert np.isfinite(open_session("onnxruntime", model).run(inputs)["y"])
    with pytest.raises(ValueError, match="use onnxruntime for that"):
        open_session("openvino", model, faithful=True)


def test_unknown_backend(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="'tvm', this runtime has onnxruntime, openvino,"):
        open_session("tvm", tmp_path)


@pytest.mark.parametrize(
    ("threads", "error"),
    [
        pytest.param(0, ValueError, id="zero"),
        pytest.param(1.0, TypeError, id="float"),
        pytest.param(True, TypeError, id="bool"),
    ],
)
def test_threads(threads: Any, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error, match=r"threads is .*; give"):
        open_session("openvino", tmp_path, threads=threads)


def test_a_backend_that_is_not_installed_names_its_package(backend: str, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.onnx", MEAN_COLOUR)
    code = (
        f"import sys; sys.modules[{backend!r}] = None\n"  # as if it were not installed
        "from runtime import EngineError\n"
        "from runtime.backends import open_session\n"
        f"try: open_session({backend!r}, {str(model)!r})\n"
        "except EngineError as error: print(error)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert f"{backend} does not import here" in result.stdout
    assert f"pip install {backend}" in result.stdout


def test_a_back_end_tells_nobody(backend: str, tmp_path: Path) -> None:
    model, home = write_model(tmp_path / "m.onnx", MEAN_COLOUR), tmp_path / "home"
    home.mkdir()
    code = f"from runtime.backends import open_session; open_session({backend!r}, {str(model)!r})"
    kept = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    environment = kept | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
    # Either library, imported on its own, writes an identifier of the machine there.
    assert list(home.iterdir()) == []


def test_signals_are_handled_after_engines_have_closed_in_any_order(tmp_path: Path) -> None:
    """Where it can fail is a processor with large register files, such as those with AMX."""
    model = write_model(tmp_path / "m.onnx", MEAN_COLOUR)
    code = (
        "import os, signal, threading\n"
        "from runtime.backends import open_session\n"
        f"def opened(): return open_session('openvino', {str(model)!r})\n"
        "signal.signal(signal.SIGUSR1, lambda *_: None)\n"
        "first, second = opened(), opened()\n"
        "first.close(); second.close()\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
        "third = opened()\n"
        "thread = threading.Thread(target=lambda: opened().close())\n"
        "thread.start(); thread.join(); third.close()\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
        "print('alive')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (result.returncode, result.stdout) == (0, "alive\n")
