"""TensorRT missing, too old, too new or for another CUDA: one line each, here and in a build."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.trt.installation import Installed, installed
from runtime.errors import EngineError
from tests.fakes.builder_machine import Machine


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_what_is_here_is_told(machine: Machine) -> None:
    found = installed()
    assert found == Installed(
        tensorrt="10.3.0", cuda="12.6", driver=found.driver, device="Orin",
        compute_capability="8.7", jetson=True,
    )  # fmt: skip


@pytest.mark.parametrize("version", ["10.3.0", "10.16.2", "11.4.0.106"])
def test_versions_of_the_range_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    assert Machine(tmp_path, monkeypatch, version).build().tensorrt == version


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "__version__ = '8.6.2'",
            "TensorRT 8.6.2 is installed, this release builds with 10.3 to 11.x; on a Jetson",
            id="too-old",
        ),
        pytest.param(
            "__version__ = '10.1.0'",
            "TensorRT 10.1.0 is installed, this release builds with 10.3 to 11.x; on a Jetson",
            id="a-little-too-old",
        ),
        pytest.param(
            "__version__ = '12.0.0'",
            "TensorRT 12.0.0 is installed, this release builds with 10.3 to 11.x; upgrade Vitrine",
            id="too-new",
        ),
        pytest.param(
            "raise ModuleNotFoundError(\"No module named 'tensorrt'\", name='tensorrt')",
            "TensorRT's Python bindings are not installed; on a Jetson `sudo apt install",
            id="missing",
        ),
        pytest.param(
            "raise ImportError('libnvinfer.so.10: cannot open shared object file')",
            "TensorRT is installed and does not load (libnvinfer.so.10: cannot open shared object "
            "file); its libraries and CUDA's must be of the version it was made for: on a Jetson",
            id="libraries-missing",
        ),
        pytest.param(
            "import tensorrt_libs",
            "TensorRT is installed and does not load (No module named 'tensorrt_libs')",
            id="half-installed",
        ),
        pytest.param(
            "", "the module tensorrt here is not NVIDIA's (version '')", id="something-else"
        ),
        pytest.param(
            "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
            'TensorRT crashed (SIGSEGV) during "starting"',
            id="crashes-on-import",
        ),
    ],
)
def test_a_tensorrt_that_cannot_build_is_a_problem_in_one_line(
    machine: Machine, text: str, expected: str
) -> None:
    machine.module(text)
    (problem,) = installed().problems
    assert problem.startswith(expected)
    assert "\n" not in problem
    with pytest.raises(EngineError) as caught:
        machine.build()
    assert str(caught.value) == problem


def test_a_wheel_for_a_newer_cuda_than_the_driver_has_is_named(machine: Machine) -> None:
    folder = machine.folder / "path" / "tensorrt_cu13_bindings-11.4.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tensorrt_cu13_bindings\nVersion: 11.4.0\n"
    )
    assert installed().problems == (
        "TensorRT 10.3.0 here is for CUDA 13, the driver supports CUDA 12.6; update the driver or "
        "run `pip install tensorrt-cu12`",
    )


def test_no_gpu_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path, monkeypatch)
    machine.scenario_file.write_text('{"cuda": 0}')
    found = installed()
    assert found.tensorrt == "10.3.0"
    assert (found.cuda, found.device) == ("", "")
    (problem,) = found.problems
    assert "cudaErrorNoDevice" in problem


def test_a_tensorrt_that_does_not_start_says_what_it_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = {"start": [["ERROR", "CUDA initialization failure with error: 35"]]}
    machine = Machine(tmp_path, monkeypatch, starts=False, log=log)
    with pytest.raises(EngineError) as caught:
        machine.build()
    assert str(caught.value) == (
        "TensorRT 10.3.0 cannot start (CUDA initialization failure with error: 35); its CUDA must "
        "be one that the driver supports, and a GPU must be free: see `vitrine doctor`"
    )
