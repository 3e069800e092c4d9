"""The plugins' sources as one file of a kit, and the library compiled from it on the device."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from engines.plugin_library import compile_library
from runtime.errors import EngineError, one_line

_SOURCES = Path(__file__).resolve().parent / "plugins"
_SUFFIXES = (".cu", ".cuh", ".cpp", ".h", ".txt", ".md")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that the format can say: equal sources, equal files
_LARGEST = 16 << 20  # bytes, unpacked


def archive_sources(archive: Path) -> None:
    """Writes the sources that this release brings; equal sources give equal files."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(_SOURCES.iterdir()):
            if file.suffix in _SUFFIXES:
                packed.writestr(zipfile.ZipInfo(file.name, _EPOCH), file.read_bytes())


def compile_from_archive(
    archive: Path,
    library: Path,
    compute_capability: str,
    headers: Path | None,
    say: Callable[[str], None],
) -> Path:
    """Compiles the plugins of a kit for one kind of GPU.

    Args:
        archive: whose hash the caller has checked.
        library: where the result goes.
        compute_capability: such as "8.7".
        headers: folder of TensorRT's headers; None looks where systems have them.
        say: told what is going on.

    Raises:
        EngineError: a damaged archive, or what `compile_library` says.
    """
    with tempfile.TemporaryDirectory(prefix="vitrine-plugins-") as name:
        try:
            with zipfile.ZipFile(archive) as packed:
                _unpack(packed, Path(name))
        except (OSError, zipfile.BadZipFile) as error:
            raise EngineError(
                f"{archive} holds no sources ({one_line(error)}); copy the kit again"
            ) from error
        architecture = compute_capability.replace(".", "")
        return compile_library(Path(name), library, [architecture], headers, say)


def _unpack(packed: zipfile.ZipFile, folder: Path) -> None:
    if sum(entry.file_size for entry in packed.infolist()) > _LARGEST:
        raise zipfile.BadZipFile(f"more than {_LARGEST} bytes")
    for entry in packed.infolist():
        if Path(entry.filename).name != entry.filename or entry.is_dir():
            raise zipfile.BadZipFile(f"{entry.filename!r} is no plain file name")
        (folder / entry.filename).write_bytes(packed.read(entry))
