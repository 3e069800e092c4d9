from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.plugins.launch import Kernels

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "engines" / "plugins"


def needs(*tools: str) -> None:
    """Skips unless all these programs are installed."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed")


def headers() -> Path:
    """Folder of TensorRT's headers, which the repository does not carry; skips without."""
    folder = os.environ.get("VITRINE_TENSORRT_INCLUDE")
    if folder is None:
        pytest.skip("VITRINE_TENSORRT_INCLUDE does not name a folder of TensorRT's headers")
    return Path(folder)


@pytest.fixture(scope="session")
def host_compiler() -> list[str]:
    """g++ with the emulation of CUDA before everything else on its path."""
    needs("g++")
    return [
        "g++", "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror",
        "-Wno-unknown-pragmas",  # CUDA's `unroll`
        "-U_FORTIFY_SOURCE",  # its longjmp refuses to change stacks
        f"-I{HERE / 'emulator'}", f"-I{SOURCES}",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def emulated(host_compiler: list[str], tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """The kernels' own sources, compiled for the host."""
    library = tmp_path_factory.mktemp("emulated") / "libemulated.so"
    source = str(HERE / "emulator" / "emulated.cpp")
    command = [*host_compiler, "-fPIC", "-shared", source, "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Kernels(str(library))
