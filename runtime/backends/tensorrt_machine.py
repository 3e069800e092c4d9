"""Is this the machine that a plan was built for? Asked before the plan is deserialised."""

from __future__ import annotations

import platform
import re

from runtime.cuda_device import Device
from runtime.errors import EngineError, one_line
from runtime.manifest import EngineInfo

OLDEST, TOO_NEW = (10, 3), (12,)
"""The first release that is known, JetPack 6's, and the first that is not: what 12 removes."""
_AMPERE = (8, 0)  # compute capability that hardware-compatible plans begin with


def tensorrt_version() -> str:
    """The version of TensorRT's Python bindings here.

    Raises:
        EngineError: not installed, not loadable, or out of the known range.
    """
    try:
        import tensorrt
    except Exception as error:  # NVIDIA's wheels look for their libraries in several ways
        raise EngineError(
            f"tensorrt does not import here ({one_line(error)}); on a Jetson install "
            "python3-libnvinfer with apt and make the virtual environment with "
            "--system-site-packages, elsewhere run `pip install tensorrt-cu12`, or -cu13 for a "
            "driver with CUDA 13"
        ) from error
    version = str(getattr(tensorrt, "__version__", "of unknown version"))
    if not OLDEST <= release(version) < TOO_NEW:
        raise EngineError(
            f"found TensorRT {version}, this runtime knows 10.3 to 11; install one of these, or "
            "a vitrine that knows yours"
        )
    return version


def this_platform() -> str:
    """The operating system and processor here, as a manifest names them: "Linux-aarch64"."""
    return f"{platform.system()}-{platform.machine()}"


def check_machine(version: str, device: Device, built_for: EngineInfo) -> None:
    """Compare this machine with the one that a plan was built on.

    A plan runs with the release of TensorRT that built it, on the compute capability and the
    platform it was built on; two of the builder's options widen that
    (https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html).

    Args:
        version: of TensorRT here.
        device: here.
        built_for: what the manifest says.

    Raises:
        EngineError: another version, compute capability or platform.
    """
    here, built = release(version), release(built_for.version)
    version_fits = here == built or ("version-compatible" in built_for.options and here > built)
    wanted, found = built_for.compute_capability, device.compute_capability
    device_fits = wanted in (None, found) or (
        "hardware-compatible" in built_for.options and release(found) >= _AMPERE
    )
    if version_fits and device_fits and built_for.platform in (None, this_platform()):
        return
    raise EngineError(
        f"the plan was built for TensorRT {built_for.version}, compute capability {wanted} "
        f"({built_for.device}){_on(built_for.platform)}; found TensorRT {version}, {found} "
        f"({device.name}) on {this_platform()}: build the bundle again on this machine"
    )


def _on(name: str | None) -> str:
    return "" if name is None else f" on {name}"


def release(version: str) -> tuple[int, ...]:
    """Major, minor and patch: what follows, such as ".post1" or a build number, is no release."""
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    return tuple(int(part or 0) for part in found.groups()) if found else (0,)
