"""Writes a bundle so that half of one is never loadable.

Files go into a hidden folder beside the bundle; the manifest is written there last, with the
sha256 of every other file; then one rename puts the whole folder in place. A build that is killed
leaves a hidden folder without a manifest, which the next build removes.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.bundle import MANIFEST, REJECTED, file_sha256
from runtime.manifest import Manifest


class BuildConflictError(ValueError):
    """Another build of the same bundle is running."""


class BundleWriter:
    """Collects the files of one bundle under a lock; `finish` puts them in place."""

    def __init__(self, folder: Path) -> None:
        """Use `open_writer`, which holds the lock."""
        self.folder = folder
        self.work = _work_folder(folder)
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)

    def path(self, name: str) -> Path:
        """Where to write the file `name`."""
        return self.work / name

    def part(self, name: str) -> BundleWriter:
        """For a bundle within this one, in the folder `name`; to be finished or rejected first."""
        return BundleWriter(self.path(name))

    def parts(self, name: str) -> dict[str, str]:
        """Folders of finished parts, with the sha256 of the file that makes each whole."""
        files = sorted(self.work.glob(f"*/{name}"))
        return {file.parent.name: file_sha256(file) for file in files if file.parent.name[0] != "."}

    def finish(self, manifest: Manifest) -> Path:
        """Hashes the files, writes the manifest and renames; replaces an older bundle.

        Returns:
            The bundle's folder.
        """

        def text(files: dict[str, str]) -> str:
            parts = self.parts(MANIFEST)
            return dataclasses.replace(manifest, files=files, parts=parts).to_json()

        return self.finish_with(MANIFEST, text)

    def finish_with(self, name: str, text: Callable[[dict[str, str]], str]) -> Path:
        """The same with another last file.

        Args:
            name: of the file that makes the folder whole.
            text: its contents, given the sha256 of every other file by name.
        """
        files = {p.name: file_sha256(p) for p in sorted(self.work.iterdir()) if p.is_file()}
        with (self.work / name).open("w", encoding="utf-8") as file:
            file.write(text(files))
            file.flush()
            os.fsync(file.fileno())
        self._swap(self.folder)
        return self.folder

    def reject(self) -> Path:
        """Keeps the report of a refused build as `<bundle>.rejected`, which no runtime loads.

        An older bundle of the same name stays as it was.
        """
        (self.work / MANIFEST).unlink(missing_ok=True)
        rejected = self.folder.with_name(self.folder.name + REJECTED)
        self._swap(rejected)
        return rejected

    def _swap(self, final: Path) -> None:
        old = final.with_name(f".{final.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if final.exists():
            final.rename(old)
        try:
            self.work.rename(final)
        except OSError:
            if old.exists():
                old.rename(final)
            raise
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def open_writer(folder: Path) -> Iterator[BundleWriter]:
    """A writer for the bundle `folder`; what is unfinished when it closes is removed.

    Raises:
        BuildConflictError: another process builds the same bundle.
        OSError: the folder cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock_path = folder.with_name(f".{folder.name}.lock")
    with lock_path.open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise BuildConflictError(
                f"another build of {folder.name} is running in {folder.parent}; wait for it, or "
                "give this one another --out"
            ) from error
        writer = BundleWriter(folder)
        try:
            yield writer
        finally:
            shutil.rmtree(writer.work, ignore_errors=True)


def _work_folder(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.building")
