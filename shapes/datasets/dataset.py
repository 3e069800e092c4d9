"""What a data set of the rendered world is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


class Rendered(NamedTuple):
    """What a model is given, and the truth about it in the form that its task compares.

    It is a frame, uint8 (H, W, 3) RGB, a clip, uint8 (T, H, W, 3), or a text.
    """

    frame: Any
    truth: Any


@dataclass(frozen=True)
class Dataset:
    """An endless data set with truths.

    Attributes:
        image: (seed, index) -> that image of the set, which depends on nothing else.
        write: (folder, truths by file name) -> writes the file that the task reads truths from.
    """

    image: Callable[[int, int], Rendered]
    write: Callable[[Path, Mapping[str, Any]], None]


def write_records(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Writes a JSON list with each record on a line of its own."""
    lines = ",\n".join(json.dumps(record) for record in records)
    path.write_text(f"[\n{lines}\n]\n")
