"""Image files as a source: one, a folder of them, or a numbered sequence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from runtime.errors import EngineError
from runtime.images import ImageSet, read_image
from runtime.sources.source import Item

_NUMBER = re.compile(r"%(?:0\d+)?d")


def read_stills(what: Path) -> Iterator[Item]:
    """Decode an image file, those of a folder by name, or those of a pattern by number.

    A file that does not decode is yielded as the `EngineError` that says why.

    Raises:
        EngineError: the folder or the pattern has no image file.
    """
    for path in _paths(what):
        try:
            item: Item = read_image(path)
        except EngineError as error:
            item = error
        yield item


def is_pattern(what: Path) -> bool:
    """Whether the file's name stands for numbered ones, as in `frame_%04d.png`."""
    return _NUMBER.search(what.name) is not None


def _paths(what: Path) -> list[Path]:
    if what.is_dir():
        return ImageSet(what).paths
    if not is_pattern(what) or what.is_file():
        return [what]
    before, after = _NUMBER.split(what.name, maxsplit=1)
    name = re.compile(f"{re.escape(before)}(\\d+){re.escape(after)}")
    numbered = sorted(
        (int(match[1]), path)
        for path in what.parent.glob("*")
        if (match := name.fullmatch(path.name))
    )
    if not numbered:
        raise EngineError(f"no file matches {what}; give the name with %d where its number stands")
    return [path for _, path in numbered]
