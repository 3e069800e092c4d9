"""What this machine is, what it can build, and what to install for the rest."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

from engines.device_check import serves
from engines.plugin_library import TOOLS, find_tool
from engines.targets import TARGETS
from engines.trt.installation import Installed, installed
from runtime.errors import EngineError

_PACKAGES = {
    "torch": "build", "transformers": "build", "onnx": "build", "onnxscript": "build",
    "pydantic": "build", "PyYAML": "build", "typer": "cpu", "rich": "cpu",
    "openvino": "cpu", "onnxruntime": "cpu", "cuda-bindings": "tensorrt",
    "opencv-python-headless": "camera", "aiohttp": "live", "prometheus-client": "metrics",
    "cryptography": "sign",
}  # fmt: skip
_BUILD = "`pip install -e '.[build]'`"
# CPU flags that int8 speed and exactness depend on: without VNNI, int8 products saturate at 16 bits
# on some back ends and INT8 gains little.
_INT8_FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")


def examine() -> dict[str, dict[str, str]]:
    """Facts by part: the machine, its GPU, installed packages, and targets."""
    here = installed()
    return {
        "machine": _machine(),
        "gpu": _gpu(here),
        "packages": _packages(),
        "targets": _targets(here),
    }


def _machine() -> dict[str, str]:
    flags = _cpu_flags()
    int8 = [flag for flag in _INT8_FLAGS if flag in flags]
    fast = any("vnni" in flag or flag in ("amx_int8", "asimddp", "i8mm") for flag in int8)
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cores": str(os.cpu_count()),
        "int8 instructions": ", ".join(int8) or "none known",
        "int8 outlook": "dot products in hardware" if fast else "no VNNI: expect little from INT8",
    }


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    lines = [line for line in text.splitlines() if line.startswith(("flags", "Features"))]
    return set(lines[0].partition(":")[2].split()) if lines else set()


def _packages() -> dict[str, str]:
    found = {}
    for package, extra in _PACKAGES.items():
        found[package] = _version(package) or f"missing; `pip install -e '.[{extra}]'`"
    for tool in TOOLS:
        try:
            found[tool] = find_tool(tool)
        except EngineError as error:
            found[tool] = str(error)
    return found


def _gpu(here: Installed) -> dict[str, str]:
    found = {
        "device": here.device or "none found",
        "compute capability": here.compute_capability or "unknown",
        "driver": here.driver or "none found",
        "CUDA": here.cuda or "none found",
        "TensorRT": here.tensorrt or "none found",
    }
    return found | {f"problem {i}": text for i, text in enumerate(here.problems, start=1)}


def _targets(here: Installed) -> dict[str, str]:
    can_export = all(_version(name) for name in ("torch", "transformers", "onnx"))
    found = {}
    for target in TARGETS.values():
        ready = [name for name in target.backends if _version(name)]
        if target.gpu is not None:
            kit = "makes a device kit" if can_export else f"needs {_BUILD} for kits"
            obstacle = serves(here, target) if here.device else "no GPU is here"
            finish = "finishes one" if not obstacle else f"does not finish one ({obstacle})"
            found[target.name] = f"{target.device}: {kit}, {finish}"
        elif ready:
            does = "builds and runs" if can_export else f"runs bundles, needs {_BUILD} to build,"
            found[target.name] = f"{does} with {' and '.join(ready)}"
        else:
            found[target.name] = "install openvino or onnxruntime: `pip install -e '.[cpu]'`"
    return found


def _version(package: str) -> str:
    """Empty where it is not installed; ONNX Runtime's GPU build is ONNX Runtime as well."""
    for name in (package, f"{package}-gpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""
