"""What a folder holds for a model: images, clips, or texts, each in a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime import EngineError
from runtime.errors import one_line
from runtime.images import ImageSet, read_image

_TEXT = ".txt"


def item_files(folder: Path, kind: str) -> Sequence[Path]:
    """Files of a model that takes items of a kind, in order of their names.

    Args:
        folder: of texts in .txt files, one each; or what `ImageSet` reads.
        kind: of the model's preprocessing.

    Raises:
        EngineError: the folder does not exist or holds nothing of that kind.
    """
    if kind != "texts":
        return ImageSet(folder).paths
    found = sorted(folder.glob(f"*{_TEXT}")) if folder.is_dir() else []
    if not found:
        raise EngineError(
            f"{folder} holds no text; give a folder with each text in a file NAME{_TEXT}"
        )
    return found


def readable_files(folder: Path, kind: str) -> Sequence[Path]:
    """The same without what cannot be read; `EngineError` when nothing can."""
    if kind != "texts":
        return [folder / name for name, _ in ImageSet(folder)]
    found = [path for path in item_files(folder, kind) if _is_text(path)]
    if not found:
        raise EngineError(f"none of the texts of {folder} can be read; write them in UTF-8")
    return found


def _is_text(path: Path) -> bool:
    try:
        read_item(path)
    except EngineError:
        return False
    return True


def read_item(path: Path) -> Any:
    """A text without the white space around it, or what `read_image` makes of the file.

    Raises:
        EngineError: it cannot be read; the message names it.
    """
    if path.suffix != _TEXT:
        return read_image(path)
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(
            f"{path} is not a readable text ({one_line(error)}); write it in UTF-8"
        ) from error
