"""The plugin library of a bundle, compiled here from a few lines of C where it must be real."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from runtime import EngineError
from runtime.backends import open_session
from tests.fakes.cuda_machine import Machine
from tests.fakes.tensorrt_runtime import _calls, _plan, _refused

ROWS = [[[1, 4], [2, 4], [64, 4]]]
PLAN = _plan("affine", {"x": ["FLOAT", ROWS]}, {"y": "FLOAT"}, plugins=True)
COMPILER = shutil.which("cc") or shutil.which("gcc")


def library(folder: Path, **answers: str) -> Path:
    """A shared library whose functions `vitrine_plugins_NAME` return these texts."""
    if COMPILER is None:
        pytest.skip("no C compiler (cc or gcc) is here")
    source = folder / "plugins.c"
    source.write_text(
        "\n".join(
            f'const char* vitrine_plugins_{name}(void) {{ return "{text}"; }}'
            for name, text in answers.items()
        )
    )
    path = folder / "libvitrine_plugins.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", str(source), "-o", str(path)], check=True)
    return path


GOOD = {"version": "1.0.0", "architectures": "80 87", "tensorrt": "10.3"}


def opened(plugins: Path) -> None:
    plan = plugins.parent / "model.plan"
    plan.write_bytes(PLAN)
    open_session("tensorrt", plan, plugins=[plugins]).close()


def refused(plugins: Path, message: str) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        opened(plugins)
    assert "\n" not in str(caught.value)
    assert "deserialize_cuda_engine" not in _calls


def test_a_plan_gets_its_plugins(machine: Machine, tmp_path: Path) -> None:
    opened(library(tmp_path, **GOOD))
    assert _calls[:2] == ["load_library", "deserialize_cuda_engine"]


def test_a_plan_without_its_plugins(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "model.plan").write_bytes(PLAN)
    with pytest.raises(EngineError, match=r"\(Cannot find plugin: VitrineFusedAttention"):
        open_session("tensorrt", tmp_path / "model.plan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            {"architectures": "75 80 89"},
            r"was compiled for sm_75, sm_80, sm_89; this device is sm_87 \(Orin\): build",
            id="GPU",
        ),
        pytest.param(
            {"tensorrt": "11.4"},
            r"compiled for TensorRT 11\.4, found 10\.3\.0; build",
            id="TensorRT",
        ),
        pytest.param(
            {"version": "2.0.0"},
            r"has plugins 2\.0\.0, this runtime needs 1\.0; build",
            id="plugins",
        ),
    ],
)
def test_a_library_for_something_else_is_not_loaded(
    machine: Machine, tmp_path: Path, change: dict[str, str], message: str
) -> None:
    refused(library(tmp_path, **(GOOD | change)), message)
    assert _calls == []


def test_a_later_patch_and_another_minor_of_tensorrt_fit(machine: Machine, tmp_path: Path) -> None:
    opened(library(tmp_path, **(GOOD | {"version": "1.0.7", "tensorrt": "10.13"})))


def test_a_library_without_our_symbols(machine: Machine, tmp_path: Path) -> None:
    refused(library(tmp_path, other="x"), r"is no plugin library \(.*vitrine_plugins_version")


def test_a_library_that_tensorrt_refuses(machine: Machine, tmp_path: Path) -> None:
    _refused.add("load_library")
    refused(library(tmp_path, **GOOD), r"TensorRT refuses .*so \(Unable to open library\)")


def test_a_missing_library(machine: Machine, tmp_path: Path) -> None:
    refused(tmp_path / "libvitrine_plugins.so", r"libvitrine_plugins\.so cannot be read .*copy")


def test_a_library_for_another_processor(machine: Machine, tmp_path: Path) -> None:
    here = platform.machine()
    code, there = (0xB7, "aarch64") if here != "aarch64" else (0x3E, "x86_64")
    # The first 20 bytes of an ELF header: magic, 64 bits, little-endian; type and machine.
    header = b"\x7fELF\2\1\1" + bytes(9) + b"\3\0" + code.to_bytes(2, "little")
    path = tmp_path / "libvitrine_plugins.so"
    path.write_bytes(header + bytes(100))
    refused(path, f"was compiled for {there}, this machine is {here}; build")


def test_what_is_no_library(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "libvitrine_plugins.so"
    path.write_text("<html>404</html>")
    refused(path, "is no Linux library; build")


def test_a_truncated_library(machine: Machine, tmp_path: Path) -> None:
    path = library(tmp_path, **GOOD)
    path.write_bytes(path.read_bytes()[:64])
    refused(path, r"is no plugin library \(")
