"""Makes what the contract tests check against, out of NVIDIA's own Python bindings.

    python tests/contract/make_stubs.py [FOLDER]        (default .tensorrt-stubs; `make contract`)

For each end of the supported range the bindings' wheel is downloaded from PyPI and, without
TensorRT or a GPU, made importable: its native libraries are replaced by ones whose factories
return null. pybind11-stubgen then reads classes and signatures out of it:

    FOLDER/VERSION/tensorrt/__init__.pyi    for mypy
    FOLDER/VERSION/import/                  for PYTHONPATH, with LD_LIBRARY_PATH=…/import/lib

The wheels are NVIDIA's and proprietary: the folder is ignored by git and must stay so.
Needs gcc.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

VERSIONS = {
    "10.3.0": "tensorrt-cu12-bindings==10.3.0",
    "11.4.0": "tensorrt-cu13-bindings==11.4.0.106",
}
_LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin")
# The C symbols that the bindings look up when they are imported; every factory gives nothing.
_NULLS = """
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
void *createInferBuilder_INTERNAL(void *a, int32_t b) { return NULL; }
void *createInferRefitter_INTERNAL(void *a, void *b, int32_t c) { return NULL; }
void *createInferRuntime_INTERNAL(void *a, int32_t b) { return NULL; }
void *getBuilderPluginRegistry(int32_t a) { return NULL; }
void *getPluginRegistry(void) { return NULL; }
void *createNvOnnxParser_INTERNAL(void *a, void *b, int32_t c) { return NULL; }
void *createNvOnnxParserRefitter_INTERNAL(void *a, void *b, int32_t c) { return NULL; }
int32_t getNvOnnxParserVersion(void) { return 0; }
bool initLibNvInferPlugins(void *a, const char *b) { return true; }
"""
_KEYWORDS = r"\b(in|is|from|lambda|class|def|for|not|or|and|if|as|with|None)(?=\s*:)"
_DEF = re.compile(r"^(\s*def \w+\()(.*)(\)(?:\s*->\s*.*)?:\s*(?:\.\.\.)?)$")


def make(requirement: str, folder: Path, python: Path) -> None:
    """Makes one version; `python` has pybind11-stubgen and numpy."""
    importable, libraries = folder / "import", folder / "import" / "lib"
    libraries.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*pip, "-d", name, requirement], check=True)
        with zipfile.ZipFile(next(Path(name).glob("*.whl"))) as wheel:
            wheel.extractall(importable)
        source = Path(name) / "nulls.c"
        source.write_text(_NULLS, encoding="ascii")
        major = requirement.partition("==")[2].partition(".")[0]
        for library in _LIBRARIES:
            file = f"lib{library}.so.{major}"
            gcc = ["gcc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{file}", str(source)]
            subprocess.run([*gcc, "-o", str(libraries / file)], check=True)
        package = importable / "tensorrt"
        package.mkdir(exist_ok=True)
        text = "from tensorrt_bindings import *\nfrom tensorrt_bindings import __version__\n"
        (package / "__init__.py").write_text(text, encoding="ascii")
        stubgen = [str(python.parent / "pybind11-stubgen"), "--ignore-all-errors", "-o", name]
        environment = {
            **os.environ, "LD_LIBRARY_PATH": str(libraries), "PYTHONPATH": str(importable),
        }  # fmt: skip
        subprocess.run(
            [*stubgen, "tensorrt_bindings.tensorrt"],
            check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        raw = next(Path(name, "tensorrt_bindings").rglob("*.pyi"))
        stubs = folder / "tensorrt" / "__init__.pyi"
        stubs.parent.mkdir(exist_ok=True)
        stubs.write_text(readable(raw.read_text(encoding="utf-8")), encoding="utf-8")


def readable(text: str) -> str:
    """What pybind11-stubgen wrote, as something that mypy parses."""
    lines = []
    for line in text.splitlines():
        found = _DEF.match(line)
        if found:
            head, parameters, tail = found.groups()
            parameters = re.sub(_KEYWORDS, r"\1_", parameters)
            parameters = re.sub(r"= <[^>]*>", "= ...", parameters)
            parameters = re.sub(r"= (?!True\b|False\b)[A-Za-z_][\w.]*(?=,|$)", "= ...", parameters)
            # One method has a parameter without a default after those that have one.
            parameters = re.sub(r"(channel_axis: [\w.]+)$", r"\1 = ...", parameters)
            # An enum member called `bool` hides the type.
            line = re.sub(r"(?<![\w.])bool(?![\w.(])", "builtins.bool", head + parameters + tail)
        lines.append(line)
    body = "\n".join(lines) + "\n"
    body = body.replace(
        "class IHostMemory:\n",
        "class IHostMemory:\n    def __buffer__(self, flags: int, /) -> memoryview: ...\n", 1,
    )  # fmt: skip
    if "import builtins" not in body:
        body = re.sub(r"(?m)^import ", "import builtins\nimport ", body, count=1)
    return f"# mypy: ignore-errors\n{body}"


def main() -> None:
    """Makes every version that is not there yet; says why where it cannot, as without a network."""
    root = Path(__file__).resolve().parents[2]
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else root / ".tensorrt-stubs"
    todo = [v for v in VERSIONS if not (folder / v / "tensorrt" / "__init__.pyi").is_file()]
    if not todo:
        return
    try:
        make_all(todo, folder)
    except subprocess.CalledProcessError as error:
        command = " ".join(map(str, error.cmd))
        print(f"skipped: `{command}` failed; PyPI and gcc are needed", file=sys.stderr)
    except OSError as error:
        print(f"skipped: {error}; PyPI and gcc are needed", file=sys.stderr)


def make_all(versions: list[str], folder: Path) -> None:
    """Makes them with a pybind11-stubgen of their own."""
    with tempfile.TemporaryDirectory() as name:
        venv.create(name, with_pip=True)
        python = Path(name) / "bin" / "python"
        install = [str(python), "-m", "pip", "install", "-q", "pybind11-stubgen", "numpy"]
        subprocess.run(install, check=True)
        for version in versions:
            make(VERSIONS[version], folder / version, python)
            print(f"TensorRT {version}: {folder / version}")


if __name__ == "__main__":
    main()
