"""A bundle on disk: opened only when every file is the one that was built."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from runtime.errors import EngineError, one_line
from runtime.manifest import Manifest
from runtime.model_scan import scan_model
from runtime.signature import SIGNATURE, check_signature, read_public_keys

MANIFEST = "manifest.json"
KIT = "kit.json"
REJECTED = ".rejected"  # ends the name of a folder with the report of a build that was refused
_LARGEST_MANIFEST = 4 << 20  # bytes: 10,000 nodes with reasons and 20,000 labels take half
_LARGEST_SIGNATURE = 1 << 10  # bytes; one has 226
_MOST_FILES = 256  # a build writes up to ten
_MOST_BYTES = 8 << 30  # of all files, as they are read whole for their hashes
# Nothing that leads elsewhere, is hidden, or is another file's name on another file system.
_PLAIN = re.compile(r"\w[\w.+-]{0,200}", re.ASCII)
_CHUNK = 1 << 20  # bytes read at once for a hash


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A folder whose listed files have been found to match their hashes.

    Attributes:
        manifest_bytes: manifest.json as it was read, once, and checked.
    """

    path: Path
    manifest: Manifest
    manifest_bytes: bytes = dataclasses.field(repr=False)

    def file(self, name: str) -> Path:
        """The path of a listed file; `EngineError` when the manifest does not list it."""
        if name not in self.manifest.files:
            raise EngineError(f"{self.path} lists no {name}; build the bundle again")
        return self.path / name

    def signer(self) -> bytes | None:
        """The public key that signed; None where nobody did.

        Raises:
            EngineError: manifest.sig does not hold a signature of this manifest.
        """
        try:
            return _signer(self.path, self.manifest_bytes, None)
        except OSError as error:
            raise EngineError(f"{self.path} cannot be read ({one_line(error)})") from error


def open_bundle(
    path: str | Path,
    *,
    trusted_keys: Sequence[str | Path | bytes] | None = None,
    expected: str | None = None,
) -> Bundle:
    """Check a bundle: its signature, if asked, its manifest, every file's hash, its ONNX files.

    Nothing but the manifest is deserialised, and `scan_model` looks at the ONNX files' structure.
    Files that are not listed are not used, nor looked at.

    Args:
        path: the bundle's folder.
        trusted_keys: Ed25519 public keys, as paths of PEM files or as such files' bytes. When
            given, manifest.sig must hold a signature by one of them, which is checked before the
            manifest is parsed. None looks at no signature.
        expected: sha256 of manifest.json; of a part, which the whole's manifest says.

    Raises:
        EngineError: no bundle, a device kit that is not finished, no signature by a trusted key,
            a manifest that `Manifest.from_json` refuses, a file that `check_files` refuses, or
            a model that `scan_model` does.
        TypeError, ValueError: `trusted_keys` is no sequence, or empty.
    """
    path = Path(path)
    trusted = None if trusted_keys is None else read_public_keys(trusted_keys)
    if not path.is_dir():
        raise EngineError(f"{path} is not a folder; give the folder of a built bundle")
    if path.name.endswith(REJECTED) and not (path / MANIFEST).exists():
        raise EngineError(
            f"{path} is a build that was refused, its report.html says why; build the bundle again"
        )
    if (path / KIT).exists() and not (path / MANIFEST).exists():
        raise EngineError(
            f"{path} is a device kit, not yet a bundle; on its device, `vitrine finish {path}` "
            "makes the bundle"
        )
    try:
        data = _read_small(path / MANIFEST, _LARGEST_MANIFEST)
        if trusted is not None and _signer(path, data, trusted) is None:
            raise EngineError(
                f"{path} is not signed, expected a signature by a trusted key; sign it with "
                "`vitrine sign`"
            )
        if expected is not None and hashlib.sha256(data).hexdigest() != expected:
            raise EngineError(
                f"{path / MANIFEST} is not the one that was built; copy the bundle again or "
                "rebuild it"
            )
        manifest = Manifest.from_json(data.decode())
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"{path} cannot be read ({one_line(error)})") from error
    _check_names(path, [*manifest.files, *manifest.parts])
    check_files(path, manifest.files)
    _check_models(path, manifest.files)
    bundle = Bundle(path, manifest, data)
    opened = dataclasses.replace(manifest, preprocess=manifest.preprocess.opened(bundle.file))
    return dataclasses.replace(bundle, manifest=opened)


def open_parts(bundle: Bundle) -> dict[str, Bundle]:
    """Every bundle within a bundle, by name, checked like it."""
    parts = bundle.manifest.parts.items()
    return {name: open_bundle(bundle.path / name, expected=sha256) for name, sha256 in parts}


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Compare files in a folder with their sha256, in lower-case hexadecimal, by name.

    Names and sizes are looked at before any file is opened. A file may have further hard links:
    what it holds is hashed, and nothing is written to it.

    Raises:
        EngineError: one is missing, is no regular file in the folder itself, has a name that is
            not plain or another hash; or they are too many or too large.
    """
    try:
        _check_names(folder, list(files))
        total = sum(_regular(folder / name) for name in files)
        if total > _MOST_BYTES:
            raise EngineError(
                f"{folder} lists files of {total} bytes, expected at most {_MOST_BYTES}; do not "
                "use this bundle"
            )
        for name, expected in sorted(files.items()):
            found = file_sha256(folder / name)
            if found != expected:
                raise EngineError(
                    f"{folder / name} has sha256 {found[:12]!r}…, the manifest says "
                    f"{expected[:12]!r}…; copy the bundle again or rebuild it"
                )
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


def _signer(folder: Path, manifest: bytes, trusted: Sequence[bytes] | None) -> bytes | None:
    """The public key that signed the manifest; None where there is no signature."""
    path = folder / SIGNATURE
    if not path.exists() and not path.is_symlink():
        return None
    try:
        return check_signature(manifest, _read_small(path, _LARGEST_SIGNATURE), trusted)
    except EngineError as error:
        raise EngineError(f"{folder}: {error}") from error


def _read_small(path: Path, most: int) -> bytes:
    """The bytes of a regular file, of which there may be at most so many."""
    _regular(path)
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise EngineError(
            f"{path} has more than {most} bytes, which is no file of a bundle; build it again"
        )
    return data


def _check_names(folder: Path, names: Sequence[str]) -> None:
    if len(names) > _MOST_FILES:
        raise EngineError(
            f"{folder} lists {len(names)} files, expected at most {_MOST_FILES}; do not use this "
            "bundle"
        )
    taken = {MANIFEST, SIGNATURE, KIT}
    for name in names:
        if _PLAIN.fullmatch(name) is None or name.lower() in taken:
            raise EngineError(
                f"{folder} lists a file {name[:80]!r}, expected a plain file name of its own; "
                "do not use this bundle"
            )
        taken.add(name.lower())


def _check_models(folder: Path, files: Mapping[str, str]) -> None:
    try:
        sizes = {name: _regular(folder / name) for name in files}
        for name in sizes:
            if name.lower().endswith(".onnx"):
                scan_model(folder / name, sizes)
    except OSError as error:
        raise EngineError(f"{folder} cannot be read ({one_line(error)})") from error


def _regular(path: Path) -> int:
    """The size in bytes of a file that is neither a link, a folder nor a device."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise EngineError(f"{path} is missing; copy the bundle again or rebuild it") from None
    if not stat.S_ISREG(status.st_mode):
        raise EngineError(f"{path} is not a regular file; copy the bundle without links")
    return status.st_size
