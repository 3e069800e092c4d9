"""The sources through nvcc, and the library as TensorRT will load it, without a GPU."""

from __future__ import annotations

import ctypes
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engines.plugin_library import compile_library
from tests.plugins.conftest import SOURCES, headers, needs


@pytest.mark.slow
def test_the_kernels_compile_for_turing_and_for_orin(tmp_path: Path) -> None:
    """The two have different matrix and copy instructions."""
    needs("nvcc")
    if "VITRINE_TENSORRT_INCLUDE" in os.environ:
        pytest.skip("VITRINE_TENSORRT_INCLUDE is set: the whole library is compiled instead")

    def compiled(job: tuple[str, str]) -> str:
        name, architecture = job
        done = subprocess.run(
            ["nvcc", "-std=c++17", f"-I{SOURCES}", f"-arch=sm_{architecture}", "-cubin",
             "-Xcicc", "-O1", "-Xptxas", "-O0",  # less work than a release: code is only checked
             "-Werror=all-warnings", "-o", str(tmp_path / f"{name}.{architecture}"),
             str(SOURCES / f"{name}.cu")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr if done.returncode else ""

    names = ("fused_attention", "window_attention")
    jobs = [(name, architecture) for name in names for architecture in ("75", "87")]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(compiled, jobs)) == [""] * len(jobs)


@pytest.mark.slow
def test_the_library_loads_without_tensorrt_and_offers_both_creators(tmp_path: Path) -> None:
    """Neither libnvinfer nor a plugin registry is in this process."""
    include = headers()
    needs("nvcc", "cmake")
    out = compile_library(SOURCES, tmp_path / "libvitrine_plugins.so", ["75", "87"], include, print)

    library = ctypes.CDLL(str(out))
    library.getCreators.restype = ctypes.POINTER(ctypes.c_void_p)
    count = ctypes.c_int32()
    creators = library.getCreators(ctypes.byref(count))
    assert count.value == 2
    assert all(creators[i] for i in range(2))
    library.setLoggerFinder(None)
    for name in ("version", "architectures", "tensorrt"):
        getattr(library, f"vitrine_plugins_{name}").restype = ctypes.c_char_p
    assert library.vitrine_plugins_version() == b"1.0.0"
    assert library.vitrine_plugins_architectures() == b"75 87"
    assert library.vitrine_plugins_tensorrt().count(b".") == 1

    needed = subprocess.run(["ldd", str(out)], capture_output=True, text=True, check=True).stdout
    assert "nvinfer" not in needed
    assert "cudart" not in needed
    assert exported(out) == {
        "getCreators", "setLoggerFinder", "vitrine_plugins_version",
        "vitrine_plugins_architectures", "vitrine_plugins_tensorrt",
        "vitrine_fused_attention", "vitrine_window_attention",
    }  # fmt: skip


def exported(library: Path) -> set[str]:
    """Dynamic symbols: libstdc++'s unique ones would keep the library from ever being unloaded."""
    needs("nm")
    command = ["nm", "--dynamic", "--defined-only", str(library)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in found.splitlines()}
