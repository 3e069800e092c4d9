"""Texts as the numbers that a text tower reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from runtime.batch import WHOLE, Batch, Prepared
from runtime.bpe import Bpe
from runtime.preparation import Preparation, check_fields

_LONGEST = 1 << 12  # tokens that a model may read; CLIP's reads 77
_MOST_CHARACTERS = 2000  # of a text; merging a word takes the square of its length


@dataclasses.dataclass(frozen=True)
class Texts(Preparation):
    """Tokenizes texts, surrounds each with the marks of start and end, and fills up with zeros.

    Attributes:
        merges: path of the tokenizer's file of merges; see `runtime.bpe`.
        length: of what the model reads, in tokens, both marks included.
        tokenizer: of that file; `opened` reads it.

    Raises:
        ValueError, TypeError: a field that makes no sense.
    """

    kind: ClassVar[str] = "texts"

    merges: str
    length: int = 77
    tokenizer: Bpe | None = dataclasses.field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check every field."""
        if not isinstance(self.merges, str) or not self.merges:
            raise TypeError(f"preprocess.merges is {self.merges!r}; give the name of a file")
        if type(self.length) is not int:
            raise TypeError(f"preprocess.length is {self.length!r}; give an integer, in tokens")
        if not 3 <= self.length <= _LONGEST:
            raise ValueError(f"preprocess.length is {self.length}; give 3 to {_LONGEST} tokens")

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Texts:
        """See `Preparation`."""
        check_fields(cls.kind, record, ("merges", "length"), needed="merges")
        return cls(**record)

    def to_dict(self) -> dict[str, Any]:
        """See `Preparation`."""
        return {"kind": self.kind, "merges": self.merges, "length": self.length}

    @property
    def files(self) -> Mapping[str, bytes]:
        """See `Preparation`."""
        return {} if self.tokenizer is None else {self.merges: self.tokenizer.contents}

    def opened(self, path: Callable[[str], Path]) -> Texts:
        """The same with its merges read, under the name that they have without their folder.

        Raises:
            EngineError: the file holds no merges.
        """
        name, tokenizer = Path(self.merges).name, Bpe.read(path(self.merges))
        return dataclasses.replace(self, merges=name, tokenizer=tokenizer)

    @property
    def example(self) -> str:
        """See `Preparation`."""
        return "a photo of a cat"

    def check(self, items: Sequence[Any], pixels: str) -> None:
        """See `Preparation`."""
        if isinstance(items, str):
            raise TypeError("texts is one text; give a list, a single one in a list too")
        for index, item in enumerate(items):
            if not isinstance(item, str):
                raise TypeError(f"text {index} is a {type(item).__name__}; give a str")

    def prepare(self, item: str, pixels: str = "RGB") -> Prepared:
        """The tokens of one text, int64 (1, length).

        Raises:
            TypeError: not a text.
            ValueError: it has more tokens than the model reads, which would lose its end.
        """
        self.check([item], pixels)
        if self.tokenizer is None:
            raise ValueError(f"the merges of {self.merges} are not read; call `opened` first")
        room = self.length - 2  # without both marks
        if len(item) > _MOST_CHARACTERS:
            raise ValueError(
                f"a text has {len(item)} characters; give at most {_MOST_CHARACTERS}, of which the "
                f"model reads {room} tokens"
            )
        tokens = self.tokenizer.encode(item)
        if len(tokens) > room:
            raise ValueError(
                f"the text {item[:30]!r}... has {len(tokens)} tokens; the model reads {room}: "
                "shorten it"
            )
        row = np.zeros((1, self.length), np.int64)
        row[0, : len(tokens) + 2] = [self.tokenizer.start, *tokens, self.tokenizer.end]
        return Prepared(row, (0, 0), (WHOLE,))

    def collate(self, prepared: Sequence[Prepared]) -> Batch:
        """The tokens of all texts as `input_ids`, int64 (N, length); see `Preparation`."""
        if len(prepared) == 0:
            raise ValueError("found no texts; a batch needs at least one")
        count = len(prepared)
        rows = np.concatenate([one.images for one in prepared])
        return Batch({"input_ids": rows}, [(0, 0)] * count, [WHOLE] * count, [1] * count)
