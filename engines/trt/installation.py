"""Which TensorRT, CUDA, driver and GPU are here, and what stands in the way of a build."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from engines.trt.child_process import run_child
from runtime.backends.tensorrt_machine import OLDEST, TOO_NEW, release
from runtime.cuda_device import call, current_device
from runtime.errors import EngineError, one_line

_INSTALL = (
    "on a Jetson `sudo apt install python3-libnvinfer` and a venv with --system-site-packages, "
    "elsewhere `pip install tensorrt-cu12`, or -cu13 for a driver with CUDA 13"
)


@dataclass(frozen=True)
class Installed:
    """What a build finds here; a text is empty where that could not be learnt.

    Attributes:
        tensorrt: version of the Python bindings, e.g. "10.3.0".
        cuda: newest CUDA that the driver supports, e.g. "12.6".
        driver: NVIDIA's version of it, e.g. "540.4.0".
        device: name of the GPU, e.g. "Orin".
        compute_capability: e.g. "8.7".
        jetson: whether this is one.
        problems: why nothing can be built here, a line each with its remedy; none when it can.
    """

    tensorrt: str = ""
    cuda: str = ""
    driver: str = ""
    device: str = ""
    compute_capability: str = ""
    jetson: bool = False
    problems: tuple[str, ...] = ()


def installed() -> Installed:
    """What is here, asked in a child process: native libraries that crash are a problem told."""
    try:
        record = run_child({"look": True}, lambda _: None)
    except EngineError as error:
        return Installed(problems=(str(error),))
    return Installed(**{**record, "problems": tuple(record["problems"])})


def look() -> Installed:
    """What is here, by importing TensorRT into this process."""
    problems = []
    cuda = device = capability = version = ""
    try:
        cuda = _dotted(call("cudaDriverGetVersion"))
        found = current_device()
        device, capability = found.name, found.compute_capability
    except EngineError as error:
        problems.append(str(error))
    try:
        version = _tensorrt(cuda)
    except EngineError as error:
        problems.insert(0, str(error))
    tegra = Path("/etc/nv_tegra_release").exists()  # NVIDIA's L4T writes it
    jetson = tegra or any(name in device for name in ("Orin", "Thor"))  # in a container
    return Installed(version, cuda, _driver(), device, capability, jetson, tuple(problems))


def _tensorrt(cuda: str) -> str:
    """Version of the TensorRT that imports here; `EngineError` when it cannot be used."""
    try:
        library = importlib.import_module("tensorrt")
    except ModuleNotFoundError as error:
        if error.name == "tensorrt":
            raise EngineError(
                f"TensorRT's Python bindings are not installed; {_INSTALL}"
            ) from error
        raise _does_not_load(error) from error
    except Exception as error:  # NVIDIA's wheels look for their libraries in several ways
        raise _does_not_load(error) from error
    version = str(getattr(library, "__version__", ""))
    found = release(version)
    if len(found) == 1:
        raise EngineError(
            f"the module tensorrt here is not NVIDIA's (version {version!r}); {_INSTALL}"
        )
    if not OLDEST <= found < TOO_NEW:
        remedy = _INSTALL if found < OLDEST else "upgrade Vitrine"
        raise EngineError(
            f"TensorRT {version} is installed, this release builds with 10.3 to 11.x; {remedy}"
        )
    _check_cuda(version, cuda)
    return version


def _check_cuda(version: str, cuda: str) -> None:
    """Refuses wheels for a CUDA that is newer than the driver; the other way round works."""
    made_for = [major for major in (12, 13) if _has(f"tensorrt_cu{major}_bindings")]
    if made_for and cuda and min(made_for) > int(cuda.split(".")[0]):
        major = cuda.split(".")[0]
        raise EngineError(
            f"TensorRT {version} here is for CUDA {min(made_for)}, the driver supports CUDA "
            f"{cuda}; update the driver or run `pip install tensorrt-cu{major}`"
        )


def _has(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _does_not_load(error: Exception) -> EngineError:
    return EngineError(
        f"TensorRT is installed and does not load ({one_line(error)}); its libraries and CUDA's "
        f"must be of the version it was made for: {_INSTALL}"
    )


def _dotted(version: int) -> str:
    """CUDA's 12060 as 12.6; empty for 0, which is no driver."""
    return f"{version // 1000}.{version % 1000 // 10}" if version else ""


def _driver() -> str:
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    found = re.search(r"\d{3,}\.\d+(\.\d+)?", text)
    return found[0] if found else ""
