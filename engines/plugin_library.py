"""The attention plugins compiled into a library for the GPUs they will run on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path

from runtime.errors import EngineError, one_line

_NAME = "libvitrine_plugins.so"
# Beside the path: JetPack and NVIDIA's installers leave nvcc with CUDA, and CMakeLists.txt finds
# the headers here, of which the last two are the compiler's own.
_FOLDERS = {
    "nvcc": ("/usr/local/cuda/bin",),
    "NvInfer.h": (
        "/usr/include/aarch64-linux-gnu", "/usr/include/x86_64-linux-gnu",
        "/usr/local/tensorrt/include", "/usr/include", "/usr/local/include",
    ),
}  # fmt: skip
_INSTALL = {
    "cmake": "sudo apt-get install cmake g++",
    "g++": "sudo apt-get install g++",
    "nvcc": "sudo apt-get install cuda-nvcc-12-6 cuda-cudart-dev-12-6, or those of your CUDA",
    "NvInfer.h": "sudo apt-get install libnvinfer-headers-dev, or give --tensorrt-headers",
}
TOOLS = tuple(_INSTALL)
"""What compiling the plugins takes."""


def compile_library(
    sources: Path,
    out: Path,
    architectures: Sequence[str],
    include: Path | None,
    say: Callable[[str], None],
) -> Path:
    """Compiles the plugins with CMake and nvcc; needs neither a GPU nor libnvinfer.

    Args:
        sources: folder of CMakeLists.txt, such as engines/plugins.
        out: the library; replaced only by one that compiled.
        architectures: compute capabilities without the dot, such as "87"; with none, every
            architecture that both the sources and this nvcc know.
        include: folder of NvInfer.h; None looks where systems have it.
        say: told what is going on.

    Returns:
        `out`.

    Raises:
        EngineError: a missing tool or header, or the compiler's first error.
        ValueError: an architecture that is not a number.
    """
    for architecture in architectures:
        if not architecture.isdigit():
            raise ValueError(f"found architecture {architecture!r}, expected one such as '87'")
    cmake, nvcc = find_tool("cmake"), find_tool("nvcc")
    kinds = ", ".join(f"sm_{architecture}" for architecture in architectures) or "every GPU"
    say(f"compiling the attention plugins for {kinds} (some minutes)")
    with tempfile.TemporaryDirectory(prefix="vitrine-plugins-build-") as name:
        configure = [cmake, "-S", str(sources), "-B", name, f"-DCMAKE_CUDA_COMPILER={nvcc}"]
        configure.append(f"-DVITRINE_ARCHITECTURES={';'.join(architectures)}")
        if include is not None:
            configure.append(f"-DTENSORRT_INCLUDE={include.absolute()}")
        _run(configure, kinds)
        _run([cmake, "--build", name, "--parallel", str(os.cpu_count() or 1)], kinds)
        _replace(Path(name) / _NAME, out)
    return out


def find_tool(name: str) -> str:
    """Path of one of `TOOLS`.

    Raises:
        EngineError: it is not here; the message says what to install.
    """
    elsewhere = (Path(folder) / name for folder in _FOLDERS.get(name, ()))
    found = shutil.which(name) or next((str(file) for file in elsewhere if file.is_file()), None)
    if found is None:
        raise EngineError(
            f"{name} was not found, and the attention plugins take it to compile: {_INSTALL[name]}"
        )
    return found


def _run(command: Sequence[str], kinds: str) -> None:
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "LC_ALL": "C"},  # so that "error" reads error
        check=False,
    )
    if done.returncode != 0:
        reason = one_line(RuntimeError(_first_error(done.stdout)))
        raise EngineError(f"the attention plugins did not compile for {kinds}: {reason}")


def _first_error(output: str) -> str:
    """The line that a compiler's reader looks for; CMake says it below its own headline."""
    lines = output.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("CMake Error"):
            return " ".join(takewhile(str.strip, lines[number + 1 :])) or line
        if re.search(r"\b(error|fatal)\b", line, re.IGNORECASE):
            return line
    return next((line for line in reversed(lines) if line.strip()), "no output")


def _replace(library: Path, out: Path) -> None:
    """Copies beside `out` first: the build may be on another disk, where renaming fails."""
    partial = out.with_name(f"{out.name}.partial")
    try:
        shutil.copyfile(library, partial)
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise EngineError(f"{out} could not be written: {one_line(error)}") from error
