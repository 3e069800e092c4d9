"""The plugin library of a bundle, asked for what it was compiled for before TensorRT loads it."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.cuda_device import Device
from runtime.errors import EngineError, one_line
from runtime.tensorrt_logger import last_errors

if TYPE_CHECKING:
    import tensorrt

_VERSION = "1.0"  # major.minor of the plugins that this runtime's bundles use
_MACHINES = {0x3E: "x86_64", 0xB7: "aarch64"}  # e_machine of an ELF header, by platform.machine()
_AGAIN = "build the bundle again on this machine"


def check_plugins(path: Path, version: str, device: Device) -> None:
    """Refuse a plugin library that was not made for this machine, without TensorRT's help.

    Args:
        path: of libvitrine_plugins.so.
        version: of TensorRT here.
        device: here.

    Raises:
        EngineError: it is missing, of another version, or built for another processor, GPU or
            TensorRT.
    """
    _check_processor(path)
    try:
        library = ctypes.CDLL(str(path))
        found = {name: _text(library, name) for name in ("version", "architectures", "tensorrt")}
    except (OSError, AttributeError) as error:
        raise EngineError(f"{path} is no plugin library ({one_line(error)}); {_AGAIN}") from error
    _check(path, found, version, device)


def load_plugins(runtime: tensorrt.Runtime, path: Path) -> None:
    """Load a plugin library, which was checked, for the plans of one `tensorrt.Runtime`.

    The library stays loaded until the runtime is gone, as engines run its code.

    Args:
        runtime: whose own registry gets the plugins, so that other sessions are left alone.
        path: of libvitrine_plugins.so.

    Raises:
        EngineError: TensorRT refuses it.
    """
    try:
        handle = runtime.get_plugin_registry().load_library(str(path))
    except Exception as error:  # the binding raises what pybind11 does, e.g. for a null handle
        raise EngineError(f"TensorRT refuses {path} ({one_line(error)}); {_AGAIN}") from error
    if handle is None:
        raise EngineError(f"TensorRT refuses {path} ({last_errors()}); {_AGAIN}")


def _check_processor(path: Path) -> None:
    """Read the ELF header, as the loader only says that it finds no such file."""
    try:
        with path.open("rb") as file:
            header = file.read(20)
    except OSError as error:
        raise EngineError(
            f"{path} cannot be read ({one_line(error)}); copy the bundle again"
        ) from error
    if header[:4] != b"\x7fELF":
        raise EngineError(f"{path} is no Linux library; {_AGAIN}")
    code = int.from_bytes(header[18:20], "little")
    found, here = _MACHINES.get(code, f"ELF machine {code}"), platform.machine()
    if found != here:
        raise EngineError(f"{path} was compiled for {found}, this machine is {here}; {_AGAIN}")


def _text(library: ctypes.CDLL, name: str) -> str:
    """What `const char* vitrine_plugins_NAME()` returns."""
    function = library[f"vitrine_plugins_{name}"]
    function.restype = ctypes.c_char_p
    return str((function() or b"").decode())


def _check(path: Path, found: dict[str, str], version: str, device: Device) -> None:
    """Version, TensorRT's major (its plugin interface is stable within one), and the GPU.

    The GPU's architecture must be listed: machine code of another minor one is compatible on
    some desktop GPUs, and on no Jetson.
    """
    if found["version"].rpartition(".")[0] != _VERSION:
        raise EngineError(
            f"{path} has plugins {found['version']}, this runtime needs {_VERSION}; {_AGAIN}"
        )
    if found["tensorrt"].partition(".")[0] != version.partition(".")[0]:
        raise EngineError(
            f"{path} was compiled for TensorRT {found['tensorrt']}, found {version}; {_AGAIN}"
        )
    wanted = device.compute_capability.replace(".", "")
    if wanted not in found["architectures"].split():
        raise EngineError(
            f"{path} was compiled for sm_{found['architectures'].replace(' ', ', sm_')}; this "
            f"device is sm_{wanted} ({device.name}): {_AGAIN}"
        )
