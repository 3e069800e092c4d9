"""The plugins' classes through TensorRT's interfaces, on a CPU."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.plugins.conftest import HERE, SOURCES, headers


@pytest.fixture(scope="module")
def harness(host_compiler: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("harness") / "harness"
    sources = [HERE / "harness.cpp", HERE / "emulator" / "emulated.cpp", *SOURCES.glob("*.cpp")]
    done = subprocess.run(
        [*host_compiler, '-DVITRINE_ARCHITECTURES="87 90"', "-isystem", str(headers()),
         *map(str, sources), "-o", str(program)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return program


@pytest.mark.parametrize(
    "check",
    ["names", "wrong_fields", "formats", "output_shapes", "configure", "round_trip", "enqueue",
     "errors_of_enqueue"],
)  # fmt: skip
def test_plugins(harness: Path, check: str) -> None:
    done = subprocess.run([harness, check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
