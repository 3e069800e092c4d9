"""Compiling the library: what is said when it fails, and that a failure loses nothing."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
from pathlib import Path

import pytest

from engines import plugin_library
from engines.plugin_library import compile_library, find_tool
from runtime.errors import EngineError
from tests.plugins.conftest import SOURCES, needs

# A project of the library's name that needs no nvcc.
PROJECT = """
cmake_minimum_required(VERSION 3.21)
project(small LANGUAGES CXX)
add_library(vitrine_plugins SHARED small.cpp)
list(JOIN VITRINE_ARCHITECTURES " " given)
target_compile_definitions(vitrine_plugins PRIVATE GIVEN="${given}")
"""


def quiet(line: str) -> None:
    assert "\n" not in line


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sources of a library without CUDA, and an nvcc that nothing calls."""
    needs("cmake", "g++")
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "CMakeLists.txt").write_text(PROJECT, encoding="utf-8")
    code = 'extern "C" char const* given() { return GIVEN; }'
    (sources / "small.cpp").write_text(code, encoding="utf-8")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "nvcc").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    (tools / "nvcc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    return sources


def test_the_architectures_reach_cmake(small: Path, tmp_path: Path) -> None:
    said: list[str] = []
    out = compile_library(small, tmp_path / "out.so", ["80", "87"], None, said.append)
    library = ctypes.CDLL(str(out))
    library.given.restype = ctypes.c_char_p
    assert library.given() == b"80 87"
    assert said == ["compiling the attention plugins for sm_80, sm_87 (some minutes)"]


def test_a_compilers_error_is_one_line_and_the_old_library_stays(
    small: Path, tmp_path: Path
) -> None:
    (small / "small.cpp").write_text("int f() { return nonsense; }\nint g(", encoding="utf-8")
    out = tmp_path / "out.so"
    out.write_bytes(b"old")
    with pytest.raises(EngineError, match=r"sm_87: .*small\.cpp:1:18: error: .nonsense.") as caught:
        compile_library(small, out, ["87"], None, quiet)
    assert "\n" not in str(caught.value)
    assert out.read_bytes() == b"old"
    assert [file.name for file in tmp_path.glob("out*")] == ["out.so"]


def test_cmakes_own_error_is_said(small: Path, tmp_path: Path) -> None:
    words = "NvInfer.h was not found " * 4  # CMake breaks lines
    wrong = f'{PROJECT}message(FATAL_ERROR "{words}")'
    (small / "CMakeLists.txt").write_text(wrong, encoding="utf-8")
    with pytest.raises(EngineError, match=r"for sm_87:( NvInfer.h was not found){4}$"):
        compile_library(small, tmp_path / "out.so", ["87"], None, quiet)


def test_an_unwritable_place_is_said(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "missing" / "out.so"
    with pytest.raises(EngineError, match=r"out\.so could not be written"):
        compile_library(small, out, ["87"], None, quiet)


@pytest.mark.parametrize("missing", ["cmake", "nvcc"])
def test_a_missing_tool_is_named_with_its_package(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin_library, "_FOLDERS", {})
    for tool in {"cmake", "nvcc"} - {missing}:
        (tmp_path / tool).write_text("", encoding="utf-8")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match=f"{missing} was not found.*apt-get install .*{missing}"):
        compile_library(tmp_path, tmp_path / "out.so", ["87"], None, quiet)


@pytest.mark.parametrize("tool", ["nvcc", "NvInfer.h"])
def test_what_lies_beside_the_path_is_found(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(plugin_library, "_FOLDERS", {tool: ("/nowhere", str(tmp_path))})
    with pytest.raises(EngineError, match=f"^{tool} was not found.*sudo apt-get install"):
        find_tool(tool)
    (tmp_path / tool).touch()
    assert find_tool(tool) == str(tmp_path / tool)


def test_headers_are_looked_for_where_cmake_looks() -> None:
    cmake = (SOURCES / "CMakeLists.txt").read_text(encoding="utf-8")
    listed = re.search(r"PATHS (/[^)]*)\)", cmake)
    assert listed is not None
    assert set(listed[1].split()) <= set(plugin_library._FOLDERS["NvInfer.h"])


def test_an_architecture_is_a_number(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"found architecture '8\.7', expected one such as '87'"):
        compile_library(tmp_path, tmp_path / "out.so", ["8.7"], None, quiet)


@pytest.mark.slow
def test_missing_headers_are_said(tmp_path: Path) -> None:
    needs("cmake", "nvcc")
    if shutil.which("dpkg") and list(Path("/usr/include").glob("*/NvInfer.h")):
        pytest.skip("this machine has TensorRT's headers")
    with pytest.raises(EngineError, match=r"NvInfer\.h was not found; install libnvinfer-headers"):
        compile_library(SOURCES, tmp_path / "out.so", ["87"], None, quiet)
