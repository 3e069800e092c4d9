"""`vitrine doctor` on a device, and where something is missing."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engines import plugin_library
from engines.trt.installation import Installed
from export import doctor
from tests.cli.conftest import run
from tests.cli.device import ORIN

ROOT = Path(__file__).resolve().parents[2]


def examined(monkeypatch: pytest.MonkeyPatch, here: Installed) -> dict[str, dict[str, str]]:
    monkeypatch.setattr(doctor, "installed", lambda: here)
    found: dict[str, dict[str, str]] = run("doctor", "--json").json
    return found


def test_a_device_finishes_kits_of_its_own_target_only(monkeypatch: pytest.MonkeyPatch) -> None:
    found = examined(monkeypatch, ORIN)
    assert found["gpu"] == {
        "device": "Orin", "compute capability": "8.7", "driver": "540.4.0", "CUDA": "12.6",
        "TensorRT": "10.3.0",
    }  # fmt: skip
    assert found["targets"]["orin-jp6"].endswith("makes a device kit, finishes one")
    assert "(TensorRT is 10.3.0, expected" in found["targets"]["orin-jp7"]
    assert "(compute capability is 8.7, expected 9.0)" in found["targets"]["h100"]


def test_what_stands_in_the_way_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = "TensorRT's Python bindings are not installed; sudo apt install python3-libnvinfer"
    found = examined(monkeypatch, replace(ORIN, tensorrt="", problems=(problem,)))
    assert found["gpu"]["TensorRT"] == "none found"
    assert found["gpu"]["problem 1"] == problem


def test_tools_that_compile_the_plugins_come_with_their_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plugin_library, "_FOLDERS", {})
    monkeypatch.setenv("PATH", "")
    packages = examined(monkeypatch, ORIN)["packages"]
    for tool in ("cmake", "g++", "nvcc", "NvInfer.h"):
        assert packages[tool].startswith(f"{tool} was not found")
        assert "sudo apt-get install" in packages[tool]


def test_the_gpu_build_of_onnx_runtime_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installing the other beside it would hide its providers."""

    def version(name: str) -> str:
        if name == "onnxruntime":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.30.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert examined(monkeypatch, ORIN)["packages"]["onnxruntime"] == "1.30.0"


def test_a_machine_that_only_runs_engines_is_not_told_that_it_builds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(name: str) -> str:
        if name.removesuffix("-gpu") in ("torch", "cryptography"):
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = run("doctor", "--json").json
    assert found["targets"]["cpu"].startswith("runs bundles, needs `pip install -e '.[build]'`")
    assert found["packages"]["cryptography"] == "missing; `pip install -e '.[sign]'`"
    assert found["packages"]["PyYAML"] == "1.0"


def test_the_command_without_its_packages_is_one_line() -> None:
    code = "import sys; sys.modules['typer'] = None; from export.command import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert ran.stderr == "vitrine: typer is not installed; run `pip install -e '.[cpu]'`\n"
