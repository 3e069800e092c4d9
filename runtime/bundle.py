"""A bundle on disk: opened only when every file is the one that was built."""

from __future__ import annotations

import dataclasses
import hashlib
import stat
from collections.abc import Mapping
from pathlib import Path

from runtime.errors import EngineError, one_line
from runtime.manifest import Manifest

MANIFEST = "manifest.json"
KIT = "kit.json"
_LARGEST_MANIFEST = 16 << 20  # bytes; parsed JSON takes a multiple of it
_CHUNK = 1 << 20  # bytes read at once for a hash


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A folder whose listed files have been found to match their hashes."""

    path: Path
    manifest: Manifest

    def file(self, name: str) -> Path:
        """The path of a listed file; `EngineError` when the manifest does not list it."""
        if name not in self.manifest.files:
            raise EngineError(f"{self.path} lists no {name}; build the bundle again")
        return self.path / name


def open_bundle(path: str | Path) -> Bundle:
    """Read the manifest of a bundle, then check the sha256 of every file it lists.

    Nothing but the manifest is deserialised. Files that are not listed are not used, nor
    looked at.

    Raises:
        EngineError: no bundle, a device kit that is not finished, a manifest that
            `Manifest.from_json` refuses, or a file that is missing, no regular file in the
            folder itself, or not the one that was built.
    """
    path = Path(path)
    if not path.is_dir():
        raise EngineError(f"{path} is not a folder; give the folder of a built bundle")
    if (path / KIT).exists() and not (path / MANIFEST).exists():
        raise EngineError(
            f"{path} is a device kit, not yet a bundle; on its device, `vitrine finish {path}` "
            "makes the bundle"
        )
    try:
        size = _regular(path / MANIFEST)
        if size > _LARGEST_MANIFEST:
            raise EngineError(
                f"{path / MANIFEST} has {size} bytes, expected at most {_LARGEST_MANIFEST}; "
                "build the bundle again"
            )
        manifest = Manifest.from_json((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"{path} cannot be read ({one_line(error)})") from error
    check_files(path, manifest.files)
    return Bundle(path, manifest)


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Compare files in a folder with their sha256, in lower-case hexadecimal, by name.

    Raises:
        EngineError: one is missing, is no regular file in the folder itself, or has another hash.
    """
    try:
        for name, expected in sorted(files.items()):
            _check_file(folder, name, expected)
    except OSError as error:
        raise EngineError(f"{folder} cannot be read ({one_line(error)})") from error


def file_sha256(path: Path) -> str:
    """The sha256 of a file in lower-case hexadecimal, read in chunks.

    By hand, as Python 3.10 has no `hashlib.file_digest`.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _check_file(folder: Path, name: str, expected: str) -> None:
    if name in ("", ".", "..", MANIFEST, KIT) or any(c in name for c in "/\\:\0"):
        raise EngineError(
            f"{folder} lists a file {name!r}, expected a plain file name; do not use this bundle"
        )
    _regular(folder / name)
    found = file_sha256(folder / name)
    if found != expected:
        raise EngineError(
            f"{folder / name} has sha256 {found[:12]}…, the manifest says {expected[:12]!r}…; "
            "copy the bundle again or rebuild it"
        )


def _regular(path: Path) -> int:
    """The size in bytes of a file that is neither a link, a folder nor a device."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise EngineError(f"{path} is missing; copy the bundle again or rebuild it") from None
    if not stat.S_ISREG(status.st_mode):
        raise EngineError(f"{path} is not a regular file; copy the bundle without links")
    return status.st_size
