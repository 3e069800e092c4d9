"""A bundle on disk: opened only when every file is the one that was built."""

from __future__ import annotations

import dataclasses
import hashlib
import stat
from pathlib import Path

from runtime.errors import EngineError, one_line
from runtime.manifest import Manifest

MANIFEST = "manifest.json"
_LARGEST_MANIFEST = 16 << 20  # bytes; parsed JSON takes a multiple of it


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
        EngineError: no bundle, a manifest that `Manifest.from_json` refuses, or a file that
            is missing, no regular file in the folder itself, or not the one that was built.
    """
    path = Path(path)
    if not path.is_dir():
        raise EngineError(f"{path} is not a folder; give the folder of a built bundle")
    try:
        size = _regular(path / MANIFEST)
        if size > _LARGEST_MANIFEST:
            raise EngineError(
                f"{path / MANIFEST} has {size} bytes, expected at most {_LARGEST_MANIFEST}; "
                "build the bundle again"
            )
        manifest = Manifest.from_json((path / MANIFEST).read_text(encoding="utf-8"))
        for name, expected in sorted(manifest.files.items()):
            _check_file(path, name, expected)
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"{path} cannot be read ({one_line(error)})") from error
    return Bundle(path, manifest)


def _check_file(folder: Path, name: str, expected: str) -> None:
    if name in ("", ".", "..", MANIFEST) or any(c in name for c in "/\\:\0"):
        raise EngineError(
            f"{folder} lists a file {name!r}, expected a plain file name; do not use this bundle"
        )
    _regular(folder / name)
    with (folder / name).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
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
